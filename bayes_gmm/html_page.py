"""Parts of a self-contained HTML page: style, outline, tables, images and formulas, without links to the network."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; --ink: #222; --soft: #666; --line: #ddd; --wash: #f6f7f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 66rem; color: var(--ink); background: #fff;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
.lead, figcaption, .note { color: var(--soft); }
.verdict { margin: 1rem 0; padding: .75rem 1rem; border-left: .4rem solid; background: var(--wash); }
.verdict p { margin: 0; } .verdict ul { margin: .5rem 0 0; padding-left: 1.2rem; }
.GOOD { border-color: #009e73; } .DOUBTFUL { border-color: #e69f00; } .BAD { border-color: #d55e00; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; background: var(--wash); }
th.wrap, td.wrap { white-space: normal; text-align: left; vertical-align: top; }
tr.group td { font-weight: 600; text-align: left; padding-top: .75rem; }
figure { margin: 1.25rem 0; } figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .875rem; margin-top: .25rem; max-width: 46rem; }
pre { padding: .75rem 1rem; background: var(--wash); overflow-x: auto; font-size: .8125rem; }
math { font-size: 1.1rem; } math[display=block] { margin: .75rem 0; overflow-x: auto; overflow-y: hidden; }
nav { font-size: .875rem; margin: 1rem 0; } nav a { color: #0072b2; margin-right: 1rem; white-space: nowrap; }
@media (max-width: 40rem) { body { padding: 1rem .75rem 2rem; } h1 { font-size: 1.35rem; } }
@media print { body { max-width: none; font-size: 11pt; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """HTML page of sections (heading, HTML); the heading of the first section is not shown."""
    first, *others = sections
    links = "".join(f'<a href="#s{i}">{escape(heading)}</a>' for i, (heading, _) in enumerate(others))
    body = "".join(f'<h2 id="s{i}">{escape(heading)}</h2>\n{html}\n' for i, (heading, html) in enumerate(others))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon, because browsers request one from the server of a page that has none.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{first[1]}\n<nav>{links}</nav>\n{body}'
        "</body>\n</html>\n"
    )


def scrolling(table: str) -> str:
    """Table in a box that scrolls horizontally where the screen is narrower than the table."""
    return f'<div class="scroll">{table}</div>'


def wide_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table of texts that are wrapped into lines."""
    heads = "".join(f'<th class="wrap">{escape(cell)}' for cell in head)
    body = "".join("<tr>" + "".join(f'<td class="wrap">{escape(cell)}' for cell in row) for row in rows)
    return f"<table><tr>{heads}{body}</table>"


def paragraphs(*texts: str) -> str:
    """One paragraph for each text."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def bullets(texts: Sequence[str]) -> str:
    """Bulleted list with one item for each text."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def picture(png: bytes, caption: str, width: int) -> str:
    """Image with its caption, `width` CSS pixels wide or as wide as the screen allows."""
    data = b64encode(png).decode("ascii")
    return (
        f'<figure><img width="{width}" alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def code(text: str) -> str:
    """Block of code, in a fixed-width font."""
    return f"<pre>{escape(text)}</pre>"


def formula(*parts: str) -> str:
    """Displayed formula in MathML, which browsers typeset without further software."""
    return f'<math display="block"><mrow>{"".join(parts)}</mrow></math>'


def symbol(name: str, index: str) -> str:
    """MathML of a letter with an index."""
    return f"<msub><mi>{name}</mi><mrow><mi>{index}</mi></mrow></msub>"


def operator(text: str) -> str:
    """MathML of an operator, bracket or relation."""
    return f"<mo>{escape(text)}</mo>"


def over(sign: str, index: str) -> str:
    """MathML of a sum or product sign with its index below.

    The upper limit is left out, because it overlaps the sign in browsers without a mathematical font.
    """
    return f"<munder><mo>{sign}</mo><mi>{index}</mi></munder>"
