"""A server shaped like Amazon Bedrock's runtime, for a laptop: it answers with any OpenAI-compatible model behind it."""
