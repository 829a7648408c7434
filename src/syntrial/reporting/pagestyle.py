"""How a page looks: light, dark, on a phone and on paper. Colours that carry a meaning are always beside a word."""

CSS = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --paper: #fff; --box: #f6f8fa; --link: #0b5cad; --mark: #fff4d6;
  --helped: #0072b2; --hurt: #b34700; --none: #57606a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ec; --soft: #a3adb8; --line: #3a424b; --paper: #14181d; --box: #1d232a; --link: #7db8ff;
    --mark: #3d3413; --helped: #63b8ee; --hurt: #ff9b5e; --none: #a3adb8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font-size: 16px; line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif;
}
main, header { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.15; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, ul, ol { max-width: 46rem; }
ul, ol { padding-left: 1.25rem; overflow-wrap: anywhere; }
li { margin: .3rem 0; }
a { color: var(--link); }
.lead { font-size: 1.15rem; }
.soft, figcaption, small { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; max-width: none; }
nav li { margin: 0; font-size: .9rem; }
.notice { border-left: .3rem solid var(--hurt); background: var(--box); padding: .6rem 1rem; max-width: 46rem; }

.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
.card {
  border: 1px solid var(--line); border-top: .35rem solid var(--none); border-radius: .4rem;
  padding: .9rem 1.1rem; background: var(--box);
}
.card h3 { margin: 0; }
.card p { margin: .5rem 0 0; font-size: .92rem; }
.card .answer { font-size: 1.6rem; font-weight: 700; line-height: 1.2; color: var(--none); }
.helped { border-top-color: var(--helped); }
.helped .answer { color: var(--helped); }
.hurt { border-top-color: var(--hurt); }
.hurt .answer { color: var(--hurt); }

.scroll { overflow-x: auto; margin: 1rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .88rem; }
caption { text-align: left; padding-bottom: .4rem; font-weight: 600; }
caption span { position: sticky; left: 0; display: inline-block; max-width: calc(100vw - 2.5rem); }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody th { font-weight: 500; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; }
.numbers td { white-space: nowrap; }
.numbers thead th[colspan] { text-align: center; border-bottom-width: 1px; border-left: .8rem solid var(--paper); }
.numbers tbody th { position: sticky; left: 0; background: var(--paper); min-width: 8.5rem; }
.stacked { width: 100%; min-width: 50rem; table-layout: fixed; overflow-wrap: anywhere; }
.stacked th:first-child { width: 25%; }
.stacked th:nth-child(2), .stacked th:nth-child(3) { width: 13%; }
.stacked th:nth-child(4) { width: 28%; }
.stacked .section th { padding-top: 1.1rem; font-weight: 700; }
.changed { background: var(--mark); }

.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; max-width: 33rem; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: .3rem; }
figcaption { font-size: .88rem; margin-top: .3rem; }
.strips figure { max-width: 50rem; margin-bottom: .75rem; }
footer { margin: 3rem 0 2rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: .85rem; }

@media screen and (max-width: 40rem) {
  body { font-size: 15px; }
  main, header { padding-left: .9rem; padding-right: .9rem; }
  .numbers th, .numbers td { padding: .3rem .4rem; }
  .numbers tbody th { min-width: 6.5rem; }
  .stacked { min-width: 0; }
  .stacked thead { display: none; }
  .stacked, .stacked caption, .stacked tbody, .stacked tr, .stacked td { display: block; }
  .stacked th, .stacked th:first-child { display: block; width: auto; font-weight: 700; }
  .stacked th, .stacked td { border: 0; padding: .05rem .3rem; }
  .stacked tr { border-bottom: 1px solid var(--line); padding: .35rem 0; }
  .stacked td[data-name]::before { content: attr(data-name) ": "; color: var(--soft); }
}

@media print {
  :root { --ink: #000; --soft: #333; --line: #bbb; --paper: #fff; --box: #fff; --link: #000; --mark: #eee; }
  :root { --helped: #0072b2; --hurt: #b34700; --none: #444; }
  @page { margin: 14mm 12mm; }
  body { font-size: 10pt; }
  nav { display: none; }
  header, main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; max-width: 100%; }
  th, td { padding: 2pt 4pt; }
  .numbers tbody th { position: static; min-width: 0; }
  .stacked { min-width: 0; }
  figure, .card, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .pictures, .cards { grid-template-columns: 1fr 1fr; }
  a { text-decoration: none; }
}
"""
