"""Documents of ten kilobytes that are meant to hurt."""

from collections.abc import Iterator

MAX_BYTES = 10_000


def filled(before: str, again: str, after: str = "", *, most: int = 100_000) -> str:
    """As many repetitions as fit between two ends; `{n}` counts them."""
    parts: list[str] = []
    left = MAX_BYTES - len(before) - len(after)
    while len(parts) < most and (left := left - len(part := again.replace("{n}", str(len(parts))))) >= 0:
        parts.append(part)
    return before + "".join(parts) + after


def nested(opening: str, inner: str, closing: str, levels: int) -> str:
    return opening * levels + inner + closing * levels


def chain(body: str, last: str, links: int, on: str = "Viewer") -> str:
    """Fragments of which each spreads the next; `{n}` in the body is the next one's number."""
    each = "".join(f"fragment F{n} on {on}{{{body.replace('{n}', str(n + 1))}}}" for n in range(links))
    return f"{each}fragment F{links} on {on}{{{last}}}"


def documents() -> Iterator[tuple[str, str]]:
    """Each with a name."""
    yield from wide()
    yield from worded()
    yield from chained()
    yield from deep()
    yield from long()


def wide() -> Iterator[tuple[str, str]]:
    """One thing many times: where there is a limit, as often as it allows, and more often."""
    for most in (300, 490, 990, 100_000):
        yield f"{most} times one field", filled("{viewer{", "id ", "}}", most=most)
        yield f"{most} inline fragments", filled("{viewer{", "...{id}", "}}", most=most)
        yield f"{most} typed inline fragments", filled("{viewer{", "...on Viewer{id}", "}}", most=most)
        yield f"{most} aliases", filled("{viewer{", "a{n}:id ", "}}", most=most)
        yield f"{most} unknown fields", filled("{viewer{", "scope{n} ", "}}", most=most)
        yield (
            f"{most} unknown types",
            filled("{viewer{", "...on ExecutionEventConnec{n}{id}", "}}", most=most),
        )
        yield f"{most} unknown fragments", filled("{viewer{", "...F{n} ", "}}", most=most)
        yield f"{most} empty spreads", filled("{viewer{", "...F ", "}}fragment F on Viewer{id}", most=most)
        yield (
            f"{most} operations",
            filled("", "query Q{n}{viewer{...F}}", "fragment F on Viewer{id}", most=most),
        )
        yield f"{most} operations and variables", filled("", "query Q{n}($a:ID!){node(id:$a){id}}", most=most)
        yield f"{most} unused fragments", filled("{viewer{id}}", "fragment F{n} on Viewer{id}", most=most)
        yield f"{most} fragments of one name", filled("{viewer{...F}}", "fragment F on Viewer{id}", most=most)


def worded() -> Iterator[tuple[str, str]]:
    """Variables, values and arguments many times, likewise."""
    for most in (300, 490, 990, 100_000):
        yield f"{most} variables", filled("query(", "$v{n}:Int ", "){viewer{id}}", most=most)
        yield f"{most} variables of one name", filled("query(", "$v:Int ", "){viewer{id}}", most=most)
        yield (
            f"{most} variables of unknown types",
            filled("query(", "$v{n}:Executio{n} ", "){viewer{id}}", most=most),
        )
        yield (
            f"{most} undefined variables",
            filled("{executions(filter:{labels:[", "$v{n} ", "]}){totalCount}}", most=most),
        )
        yield (
            f"{most} times one variable",
            filled("query($v:ID!){executions(filter:{workflowId:[", "$v ", "]}){totalCount}}", most=most),
        )
        yield f"{most} directives", filled("{viewer{id ", "@include(if:true)", "}}", most=most)
        yield f"{most} unknown directives", filled("{viewer{id ", "@d{n} ", "}}", most=most)
        yield f"{most} arguments", filled("{viewer{id(", "first{n}:1 ", ")}}", most=most)
        yield f"{most} times one argument", filled("{executions(", "first:1 ", "){totalCount}}", most=most)
        yield (
            f"{most} values",
            filled("{executions(filter:{status:[", "RUNNING ", "]}){totalCount}}", most=most),
        )
        yield (
            f"{most} wrong values",
            filled("{executions(filter:{status:[", "RUNNINK ", "]}){totalCount}}", most=most),
        )
        yield (
            f"{most} keys of an input",
            filled("{executions(filter:{", "statuz{n}:1 ", "}){totalCount}}", most=most),
        )
        yield (
            f"{most} times one key",
            filled("{executions(filter:{", "status:[] ", "}){totalCount}}", most=most),
        )
        yield (
            f"{most} inputs",
            filled("{executions(filter:{labels:[", '{key:"k" value:"v"}', "]}){totalCount}}", most=most),
        )
        yield (
            f"{most} types as wholes",
            filled("{viewer{", "...on Execution{id status version}", "}}", most=most),
        )
        yield f"{most} root fields", filled("{", "r{n}:viewer{id}", "}", most=most)
        yield f"{most} conflicts", filled("{", "x:workflow(id:{n}){id}", "}", most=most)
        yield f"{most} conflicts of lists", filled("{", "executions(first:{n}){totalCount}", "}", most=most)
        yield (
            f"{most} subscriptions at once",
            filled("subscription{", "a{n}:executionFeed{id}", "}", most=most),
        )
        yield (
            f"{most} introspections",
            filled("{", "a{n}:__schema{types{fields{args{name}}}}", "}", most=most),
        )


def chained() -> Iterator[tuple[str, str]]:
    """Fragments within fragments."""
    for links in (10, 49, 100, 130):
        yield f"{links} fragments in a chain", "{viewer{...F0}}" + chain("...F{n}", "id", links)
        yield f"{links} fragments, each twice", "{viewer{...F0}}" + chain("...F{n} ...F{n}", "id", links)
        yield (
            f"{links} fragments, each by two names",
            (
                "{executions{nodes{...F0}}}"
                + chain("a:rerunOf{...F{n}}b:rerunOf{...F{n}}", "id", links, "Execution")
            ),
        )
        yield (
            f"{links} fragments, each beside fields",
            (
                "{executions{nodes{...F0}}}"
                + chain("id status version createdAt ...F{n} rerunOf{id}", "id", links, "Execution")
            ),
        )
        for most in (50, 100):
            yield (
                f"{most} subscriptions over {links} fragments",
                filled(
                    "",
                    "subscription S{n}{...F0}",
                    chain("...F{n}", "executionFeed{id}", links, "Subscription"),
                    most=most,
                ),
            )
        yield f"{links} fragments in a circle", "{viewer{...F0}}" + chain("...F{n}", "...F0", links)
        every = " ".join(f"...F{n}" for n in range(min(links, 30) + 1))
        yield (
            f"{links} fragments, all in all",
            "{viewer{...F0}}"
            + "".join(f"fragment F{n} on Viewer{{{every}}}" for n in range(min(links, 30) + 1)),
        )
        yield (
            f"{links} fragments, all in one",
            (
                "{executions{nodes{"
                + every
                + "}}}"
                + "".join(
                    f"fragment F{n} on Execution{{id status workflow{{id name}}}}"
                    for n in range(min(links, 30) + 1)
                )
            ),
        )
        yield (
            f"{links} fragments under one another",
            ("{executions{nodes{...F0}}}" + chain("rerunOf{...F{n}}", "id", links, "Execution")),
        )


def deep() -> Iterator[tuple[str, str]]:
    """What is nested, by itself or as trees."""
    for levels in (9, 60, 190, 400):
        yield f"{levels} levels of one field", nested("{executions{nodes", "{id}", "}}", levels)
        yield f"{levels} levels of inline fragments", "{viewer" + nested("{...", "{id}", "}", levels) + "}"
        yield (
            f"{levels} levels of inline fragments, twice",
            ("{executions{nodes" + nested("{rerunOf{id}...", "{id}", "}", levels) + "}}"),
        )
        yield (
            f"{levels} levels of lists",
            "{executions(after:" + nested("[", "1", "]", levels) + "){totalCount}}",
        )
        yield (
            f"{levels} levels of objects",
            "{executions(after:" + nested("{a:", "1", "}", levels) + "){totalCount}}",
        )
        yield f"{levels} levels of a type", "query($v:" + nested("[", "Int", "]", levels) + "){viewer{id}}"
        yield (
            f"{levels} levels of introspection",
            "{__schema{types" + nested("{fields{type", "{name}", "}}", levels) + "}}",
        )
        yield (
            f"{levels} levels of ofType",
            "{__schema{types" + nested("{ofType", "{name}", "}", levels) + "}}",
        )
    for width in (20, 90):
        several = "rerunOf{id}" * width
        yield (
            f"{width} fields in each of two fragments",
            (
                f"{{executions{{nodes{{...A ...B}}}}}}fragment A on Execution{{{several}}}"
                f"fragment B on Execution{{{several}}}"
            ),
        )
        call = "history(types:[ACTIVITY_FAILED ACTIVITY_STARTED]){totalCount}" * width
        yield f"{width} fields with arguments", f"{{executions{{nodes{{{call}}}}}}}"
    for width in (10, 30):
        level = "id " * width
        tree = level
        for _ in range(4):
            tree = f"{level}rerunOf{{{tree}}}rerunOf{{{tree}}}"
        yield (
            f"repeated fields in repeated trees, {width} wide",
            f"{{executions{{nodes{{{tree}}}}}}}"[:MAX_BYTES],
        )


def long() -> Iterator[tuple[str, str]]:
    """Few words, or none."""
    yield "a long name", "{" + "x" * (MAX_BYTES - 2) + "}"
    yield "a long type", "{viewer{...on " + "x" * (MAX_BYTES - 100) + "{id}}}"
    yield "a long enum value", "{executions(filter:{status:" + "X" * (MAX_BYTES - 100) + "}){totalCount}}"
    yield "a long number", "{executions(first:" + "9" * (MAX_BYTES - 100) + "){totalCount}}"
    yield "a long fraction", "{executions(first:0." + "9" * (MAX_BYTES - 100) + "){totalCount}}"
    yield "a long string", '{workflow(id:"' + "x" * (MAX_BYTES - 100) + '"){id}}'
    yield "a long block string", '{workflow(id:"""' + "\n x" * 3_000 + '"""){id}}'
    yield "many escapes", '{workflow(id:"' + "\\u{10FFFF}" * 900 + '"){id}}'
    yield "comments", filled("", "#\n", "{viewer{id}}")
    yield "blanks", filled("", " \n", "{viewer{id}}")
    yield "commas", filled("", ",", "{viewer{id}}")
    yield "types defined", filled("", "type T{n}{a:Int}")
    yield "descriptions", filled("", '"""d""" query Q{n}{viewer{id}}')
