"""What docs/benchmarks.md says of each benchmark's results: text and tables, and pictures by file name."""

from collections.abc import Callable
from typing import Any, Final

from bench.markdown import number, table
from bench.svg import Bar, bars, lines
from bench.targets import HOT_PATH, KINDS, ROWS

Section = tuple[str, dict[str, str]]
"""Markdown, and pictures."""


def _image(name: str, about: str) -> str:
    return f"![{about}](img/{name})"


def _on(results: dict[str, Any]) -> str:
    return f"on {results['date'][:10]}, {results['machine']['cpus']} shared CPUs"


def hot_path(results: dict[str, Any]) -> Section:
    """Requests, units, dollars and CPU per task."""
    versions = ", ".join(f"{name} {one}" for name, one in results["versions"].items())
    kinds = [kind for kind in KINDS if kind in results]
    rows = [(label, *(_limited(results, kind, name) for kind in kinds)) for name, label in ROWS]
    heading = ("per task", *(KINDS[kind] for kind in kinds))
    text = [
        f"Measured {_on(results)}: {versions}.",
        "",
        *table(heading, rows),
        "",
        f"A goal of one task, all else idle, through the proxy: p50 {number(results['lone']['p50_ms'])} ms, "
        f"p95 {number(results['lone']['p95_ms'])} ms.",
    ]
    return "\n".join(text), {}


def _limited(results: dict[str, Any], kind: str, name: str) -> str:
    limit = HOT_PATH.get(kind, {}).get(name)
    return number(results[kind][name]) + (f" (target ≤ {limit})" if limit is not None else "")


def peers(results: dict[str, Any]) -> Section:
    """Rows of one run, with their ratios to ours."""
    measured = {name: row for name, row in results.items() if "missing" not in row}
    ours = measured["fleet"]
    rows = [
        (
            f"{_title(name)} {row['version']}, {row['store']}",
            number(row["cpu_ms_per_task"]),
            f"{number(row['cpu_ms_per_task'] / ours['cpu_ms_per_task'])}×",
            number(row["tasks_per_second"]),
            f"{number(row['tasks_per_second'] / ours['tasks_per_second'])}×",
            number(row["p50_ms"]),
            number(row["p95_ms"]),
        )
        for name, row in sorted(measured.items(), key=lambda item: item[1]["cpu_ms_per_task"])
    ]
    absent = [
        f"- {_title(name)} {row['version']} is missing: {row['missing']}" for name, row in results.items() if "missing" in row
    ]
    heading = ("", "CPU ms per task", "to `fleet`", "tasks/s", "to `fleet`", "lone task p50, ms", "p95, ms")
    text = [
        f"Measured {_on(ours)}, all in one run.",
        "",
        _image("peers.svg", "CPU per task"),
        "",
        *table(heading, rows),
        "",
        *absent,
    ]
    drawn = [Bar(_title(name).strip("`"), row["cpu_ms_per_task"]) for name, row in measured.items()]
    return "\n".join(text), {"peers.svg": bars("CPU ms per task, of all processes. Less is better.", drawn)}


def _title(name: str) -> str:
    known = {"dbos": "DBOS", "langgraph": "LangGraph", "fleet": "`fleet`", "fleet-chunked": "`fleet-chunked`"}
    return known.get(name, name.title())


def cost(results: dict[str, Any]) -> Section:
    """Dollars per million tasks, and when a cluster costs less."""
    others = list(next(iter(results["scenarios"].values()))["elsewhere"])
    rows = [
        (row["label"], number(row["fleet"]["total"]), *(number(row["elsewhere"][name]) for name in others))
        for row in results["scenarios"].values()
    ]
    prices, cluster = results["prices"], results["cluster"]
    even = [
        (name, number(row["cpu_ms_per_task"]), number(row["tasks_per_second"])) for name, row in results["break_even"].items()
    ]
    text = [
        f"Dollars per million tasks, by list prices in {prices['region']} of {prices['day']} and requests counted on "
        f"{results['counted'][:10]}; functions have {results['memory_mb']} MB. Temporal Cloud: at "
        f"{number(results['millions_of_tasks_a_month'])} million tasks a month, workers and the plan's fee not included.",
        "",
        _image("cost.svg", "Dollars per million no-ops"),
        "",
        *table(("", "this fleet", *others), rows),
        "",
    ]
    if even:
        text += [
            f"A cluster that always runs: {cluster['workers']} workers of {number(cluster['vcpus'])} vCPU and "
            f"{number(cluster['gigabytes'])} GB on Fargate and a serverless Valkey, {number(cluster['dollars_month'])} $ a "
            f"month before the first task; this fleet idle: {number(cluster['fleet_idle_dollars_month'])} $. The cluster costs "
            "less from this average rate on, if the load is so even that workers are never added for a peak:",
            "",
            *table(("", "CPU ms per task there", "break-even, tasks/s"), even),
            "",
        ]
    text += ["Prices: " + "; ".join(prices["sources"]) + "."]
    row = results["scenarios"]["noop"]
    drawn = [Bar("this fleet", row["fleet"]["requests"], row["fleet"]["duration"])]
    drawn += [
        Bar("this fleet, chunks of ten", *(results["scenarios"]["chunks"]["fleet"][part] for part in ("requests", "duration")))
    ]
    drawn += [Bar(name, dollars) for name, dollars in row["elsewhere"].items()]
    return "\n".join(text), {"cost.svg": bars("$ per million no-ops; pale: the time of functions, where told apart.", drawn)}


def scale(results: dict[str, Any]) -> Section:
    """What the simulation says, and how far it can be believed."""
    rows = [
        (
            row["label"],
            number(row["offered_tasks_per_second"]),
            number(row["tasks_per_second"]),
            number(row["seconds_to_10000"]),
            f"{row['first_limit']}, {number(row['first_limit_seconds'])} s" if row["first_limit"] else "none",
            row["limit_at_the_end"] or "none",
            str(row["concurrency"]),
            *(number(row[name]) for name in ("p50_ms", "p95_ms", "p99_ms")),
            number(row["dollars_per_hour"]),
        )
        for row in results["scenarios"].values()
    ]
    keys = results["units_per_key"]
    heading = (
        "",
        "offered/s",
        "done/s",
        "10,000/s after, s",
        "first limit, for",
        "limit at the end",
        "invocations",
        "p50, ms",
        "p95",
        "p99",
        "$/hour",
    )
    text = [
        f"Simulated with what was counted on {results['counted'][:10]} and AWS's quotas as of {results['quotas_as_of']}; "
        "done/s is over the load's last quarter, latency from a task's arrival to its end.",
        "",
        _image("scale.svg", "Tasks per second after a sudden load"),
        "",
        *table(heading, rows),
        "",
        f"The fullest partition key of a goal's results takes {number(keys['most'])} write units in its whole life, and may "
        f"take {number(keys['allowed'])} a second: no key gets hot, whatever the rate.",
        "",
    ]
    if found := results.get("check"):
        text += [
            f"The model against the emulator, with the emulator's times measured at {found['calibrated']['workers']} workers "
            f"(an invocation {number(found['calibrated']['invocation_median_ms'])} ms). The largest error is "
            f"{found['largest_error']:.0%}.",
            "",
            *table(
                ("workers", "tasks/s foretold", "measured", "error", "task p50 foretold, ms", "measured", "error"),
                [
                    (
                        str(row["workers"]),
                        *(
                            text
                            for name in ("tasks_per_second", "p50_ms")
                            for text in (
                                number(row[name]["foretold"]),
                                number(row[name]["measured"]),
                                f"{row[name]['error']:+.0%}",
                            )
                        ),
                    )
                    for row in found["rows"]
                ],
            ),
        ]
    scenarios = results["scenarios"]
    curves = {scenarios[name]["label"]: scenarios[name]["curve"] for name in ("warmed", "provisioned")}
    picture = lines("Tasks per second after a sudden load", curves, x="seconds", y="tasks/s", mark=10_000)
    return "\n".join(text), {"scale.svg": picture}


def flat(results: dict[str, Any]) -> Section:
    """Per task by size of the goal."""
    names = {
        "wru_per_task": "write units",
        "sqs_requests_per_task": "SQS requests",
        "dynamodb_requests_per_task": "DynamoDB requests",
        "cpu_functions_ms_per_task": "CPU ms, functions",
        "cpu_ms_per_task": "CPU ms, all",
        "dollars_per_million_tasks": "$ per million, requests only",
    }
    sizes = results["sizes"]
    rows = [(f"{int(size):,}", *(number(row[name]) for name in names)) for size, row in sizes.items()]
    series = {
        label: [(float(size), row[name]) for size, row in sizes.items()]
        for name, label in names.items()
        if name in {"wru_per_task", "sqs_requests_per_task", "cpu_ms_per_task"}
    }
    text = [
        f"Measured {_on(results)}.",
        "",
        _image("flat.svg", "Per task by size"),
        "",
        *table(("tasks in the goal", *names.values()), rows),
    ]
    return "\n".join(text), {
        "flat.svg": lines("Per task, by the goal's size", series, x="tasks", y="per task", logarithmic=True)
    }


def fleet_size(results: dict[str, Any]) -> Section:
    """Ten agents against one."""
    batches = {name: row for name, row in results.items() if name.startswith("batch_")}
    rows = [
        (
            name.removeprefix("batch_"),
            *(number(row[size]["seconds"]) for size in ("fleet_1", "fleet_10")),
            f"{row['sooner']:.0%}",
        )
        for name, row in batches.items()
    ]
    work = results["workload"]
    drawn = [
        Bar(f"{agents}, {name.removeprefix('batch_')} per batch", row[size]["seconds"])
        for name, row in batches.items()
        for size, agents in (("fleet_1", "one agent"), ("fleet_10", "ten agents"))
    ]
    text = [
        f"Measured {_on(results)}: {work['tasks']} tasks that wait {number(work['seconds_per_task'])} s each, medians of "
        f"{work['runs']} runs.",
        "",
        _image("fleet_size.svg", "Seconds by size of the fleet"),
        "",
        *table(("messages per batch", "one agent, s", "ten agents, s", "sooner by"), rows),
    ]
    return "\n".join(text), {"fleet_size.svg": bars("Seconds until the goal has ended. Less is better.", drawn, unit=" s")}


def cold_start(results: dict[str, Any]) -> Section:
    """Sizes and imports of each function."""
    functions = results["functions"]
    rows = [
        (
            f"`{name}`",
            number(row["zipped_bytes"] / 1e6),
            number(row["unpacked_bytes"] / 1e6),
            number(row["import_cpu_ms"]),
            f"{number(row['ratio_to_four'])}×",
            f"{number(row['ratio'])}×",
            ", ".join(f"{name} {number(one)}" for name, one in row.get("first_task_cpu_ms", {}).items()),
        )
        for name, row in sorted(functions.items(), key=lambda item: item[1]["zipped_bytes"])
    ]
    heading = (
        *("function", "MB, zipped", "MB, unpacked", "CPU ms of its imports"),
        *("to the four packages", "to what it uses of them", "and once, CPU ms"),
    )
    text = [
        f"Measured {_on(results)}. The four packages that functions stand on (boto3, pynamodb, pydantic, Powertools) take "
        f"{number(results['stands_on_cpu_ms'])} ms of CPU to import here. HTTP routes and their description use more of "
        "Powertools: the second ratio counts that in.",
        "",
        *table(heading, rows),
    ]
    return "\n".join(text), {}


def knowledge(results: dict[str, Any]) -> Section:
    """A question's way through very many chunks, and its vectors alone."""
    query, memory = results["query"], results["query"]["memory"]
    named = {
        "embedding": ("embedding the question", memory["model_mb"]),
        "vectors": ("nearest vectors (usearch)", memory["vectors_mb"]),
        "words": ("words (BM25)", memory["words_mb"]),
        "chunks": ("reading 50 chunks", None),
        "documents": ("reading their documents", None),
    }
    timed = ("p50_ms", "p95_ms", "cpu_ms")
    rows = [
        (label, *(number(query["parts"][name][one]) for one in timed), number(held) if held else "")
        for name, (label, held) in named.items()
    ]
    whole = (f"**all** (target: p95 < {results['targets']['p95_ms']})", *(number(query["whole"][one]) for one in timed))
    searched = [
        (
            label,
            number(results["vectors"][name]["recall_at_10"]),
            *(number(results["vectors"][name][one]) for one in ("p50_ms", "p95_ms", "file_mb", "memory_mb")),
        )
        for name, label in (("exact", "every vector compared (numpy, 32 bits)"), ("usearch", "usearch (HNSW, 16 bits, ef 256)"))
    ]
    text = [
        f"Measured {_on(results)}, the load of which was {number(results['load'])} before: {query['questions']} questions to "
        f"{results['chunks']:,} chunks, {query['deleted_chunks']:,} more deleted since.",
        "",
        *table(("", "p50, ms", "p95, ms", "CPU ms", "memory, MB"), [*rows, (*whole, number(sum(memory.values())))]),
        "",
        f"The vectors alone; building the graph took {number(results['vectors']['usearch']['build_seconds'])} s:",
        "",
        *table(("", "recall@10", "p50, ms", "p95, ms", "file, MB", "memory, MB"), searched),
    ]
    return "\n".join(text), {}


def knowledge_quality(results: dict[str, Any]) -> Section:
    """What is found, what is said, and what is admitted not to be known."""
    ways = {"words": "words (BM25)", "vectors": "meaning (MiniLM)", "fused": "both, fused"}

    def found(way: dict[str, Any]) -> tuple[str, str, str]:
        return f"{way['hit_at_1']:.0%}", f"{way['hit_at_5']:.0%}", f"{way['mrr']:.2f}"

    rows = [(label, *found(results["of_documents"][way]), *found(results["passages"][way])) for way, label in ways.items()]
    answers = results["answers"]
    named = {"extractive": "the documents' own sentences", "model": f"worded by {answers.get('model', {}).get('name', '')}"}
    counted = {
        "citing_a_right_document": ("cite a document that answers", "answerable"),
        "citing_a_passage_that_answers": ("cite a passage that answers", "answerable"),
        "saying_it_in_the_references_words": ("say it in the reference's own words", "answerable"),
        "saying_that_there_is_no_answer": ("say that there is no answer, where there is none", "unanswerable"),
    }
    told = [
        (label, *(f"{answers[method][name]} of {answers[method][of]}" for method in named if method in answers))
        for name, (label, of) in counted.items()
    ]
    heading = ("ranking", "document first", "among five", "MRR", "passage first", "among five", "MRR")
    text = [
        f"Measured {_on(results)}: {results['questions']} questions to {results['topics']} documents in {results['chunks']} "
        f"chunks, {results['documents']}.",
        "",
        *table(heading, rows),
        "",
        *table(("answers that", *(label for method, label in named.items() if method in answers)), told),
    ]
    return "\n".join(text), {}


def fairness(results: dict[str, Any]) -> Section:
    """How long the small goals of one tenant take while another floods: p95 by window and form of the flood."""
    idle, *rows = results["rows"]
    windows = list(dict.fromkeys(row["window"] for row in rows))
    by_flood: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_flood.setdefault(row["flood"], []).append(row)
    shown = results["simulated"]
    least = min(row["flood_tasks_per_second"] for row in rows)
    titles = [
        "no window" if one is None else f"{one:,} (default)" if one == results["default"] else f"{one:,}" for one in windows
    ]
    text = [
        f"Simulated {_on(results)}: {shown['agents']} agents that take {shown['batch']} tasks at a time for "
        f"{number(shown['seconds_per_batch'])} s, from a queue in strict order, flooded with {shown['flood_tasks']:,} tasks.",
        "",
        *table(
            ("the flood comes as", *titles),
            [
                (flood, *(f"{number(row['p50_seconds'])} / {number(row['p95_seconds'])}" for row in found))
                for flood, found in by_flood.items()
            ],
        ),
        "",
        f"Seconds, p50 / p95, of another tenant's {shown['quiet']['goals']} goals of {shown['quiet']['tasks']} tasks, of "
        f"which one comes every {number(shown['quiet']['every_seconds'])} s; with no flood {number(idle['p50_seconds'])} / "
        f"{number(idle['p95_seconds'])}. The flood itself goes on with {number(least)} tasks a second or more.",
    ]
    return "\n".join(text), {}


SECTIONS: Final[dict[str, Callable[[dict[str, Any]], Section]]] = {
    "peers": peers,
    "hot_path": hot_path,
    "cost": cost,
    "scale": scale,
    "flat": flat,
    "fleet_size": fleet_size,
    "cold_start": cold_start,
    "knowledge": knowledge,
    "knowledge_quality": knowledge_quality,
    "fairness": fairness,
}
