"""The report's look: neutral, light or dark as the reader's system is, tables to read and to print."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --ink: #1d1f23; --soft: #666b74; --line: #dcdde0; --tile: #f0f0ee;
  --good: #1c7f4b; --bad: #b3362c; }
@media (prefers-color-scheme: dark) { :root { --paper: #17181b; --ink: #e4e5e8; --soft: #9a9fa9; --line: #34373d;
  --tile: #212328; --good: #58c48a; --bad: #ee7c70; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 8px; }
p { margin: 6px 0; } .soft { color: var(--soft); } .note { color: var(--soft); max-width: 80ch; font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 20px 0; }
.tile { background: var(--tile); border-radius: 8px; padding: 12px 16px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
th.group { text-align: center; border-bottom: none; } th.start, td.start { border-left: 1px solid var(--line); }
.facts td:first-child { width: 24em; white-space: normal; }
tr.main td { font-weight: 600; } tbody tr:not(.mean) + tr.mean td { border-top: 2px solid var(--line); }
.good { color: var(--good); } .bad { color: var(--bad); }
i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 7px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 24px; }
.charts h3 { font-size: 14px; font-weight: 600; margin: 8px 0; } .chart { width: 100%; height: auto; display: block; }
.chart .grid { stroke: var(--line); stroke-width: 1; } .chart polyline { stroke-width: 2; stroke-linejoin: round; }
.chart .axis { fill: var(--soft); font-size: 12px; }
.legend span { margin-right: 20px; font-size: 14px; white-space: nowrap; }
.row { display: flex; gap: 10px; padding: 12px 0; border-bottom: 1px solid var(--line); overflow-x: auto; }
figure { margin: 0; flex: 1 1 0; min-width: 96px; max-width: 128px; }
figure img { width: 100%; aspect-ratio: 1; object-fit: contain; display: block; background: #fff; border-radius: 5px;
  border: 1px solid var(--line); }
figure.right img { outline: 3px solid var(--good); outline-offset: -1px; }
figure.results { border-left: 1px solid var(--line); padding-left: 10px; max-width: 139px; }
figcaption { font-size: 12px; line-height: 1.3; color: var(--soft); margin-top: 5px; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; display: block; }
pre { background: var(--tile); border-radius: 8px; padding: 12px 16px; overflow-x: auto; font-size: 13px; }
"""
