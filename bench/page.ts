/** The page of `--report`: goals first, then plots, then every figure, for people who look once. Well-formed XML, without a script. */

import { type BarPlot, barsSvg } from './bars.ts'
import { type Judged, judge } from './goals.ts'
import { escapeXml, type Plot, plotSvg, short } from './plot.ts'
import { flatten, place, type Report, type Run } from './report.ts'

/** Colours of paper, dark screens and others; lines also differ by their dashes, and verdicts by their words. */
const STYLE = `
:root { color-scheme: light dark; --text: #1c1917; --soft: #57534e; --rule: #e7e5e4; --page: #fff; --good: #15803d; --bad: #b91c1c;
  --c0: #0b62a4; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #a16207; --c5: #be123c }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e7e5e4; --soft: #a8a29e; --rule: #44403c; --page: #1c1917;
  --good: #4ade80; --bad: #f87171; --c0: #60a5fa; --c1: #fb923c; --c2: #4ade80; --c3: #c084fc; --c4: #facc15; --c5: #fb7185 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--page) }
h1 { margin-bottom: 0 } h2 { margin: 2.5rem 0 0; border-top: 2px solid var(--rule); padding-top: 1rem }
a { color: var(--c0) } nav { margin: 1rem 0 } nav a { margin-right: 0.8rem } .soft, .tick { color: var(--soft); fill: var(--soft) }
p { max-width: 60rem } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 2px 1.2rem 2px 0; border-bottom: 1px solid var(--rule); text-align: left }
.number { text-align: right } .good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 } .measured { font-weight: 600 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1rem 2rem }
figure { margin: 1rem 0; break-inside: avoid } figcaption { font-weight: 600; margin-bottom: 0.3rem } summary { cursor: pointer }
svg { width: 100%; height: auto; font-size: 15px; display: block } svg text { fill: var(--text) } svg .tick { fill: var(--soft) }
.grid { stroke: var(--rule) } .line { fill: none; stroke-width: 2; stroke-linejoin: round }
line.s0, polyline.s0 { stroke: var(--c0) } circle.s0, rect.s0 { fill: var(--c0) }
line.s1, polyline.s1 { stroke: var(--c1); stroke-dasharray: 7 3 } circle.s1, rect.s1 { fill: var(--c1) }
line.s2, polyline.s2 { stroke: var(--c2); stroke-dasharray: 2 3 } circle.s2, rect.s2 { fill: var(--c2) }
line.s3, polyline.s3 { stroke: var(--c3); stroke-dasharray: 10 3 2 3 } circle.s3, rect.s3 { fill: var(--c3) }
line.s4, polyline.s4 { stroke: var(--c4); stroke-dasharray: 5 5 } circle.s4, rect.s4 { fill: var(--c4) }
line.s5, polyline.s5 { stroke: var(--c5); stroke-dasharray: 14 4 } circle.s5, rect.s5 { fill: var(--c5) }
@media print { body { margin: 0; max-width: none; font-size: 11px } nav, details { display: none } .plots { grid-template-columns: 1fr 1fr }
  tr { break-inside: avoid } h2 { break-after: avoid } }
`

/** `plotsOf`: the plots of each run, in the order of the report's runs. `json`: name of the file beside it with the same figures. */
export function page(report: Report, plotsOf: readonly (readonly (Plot | BarPlot)[])[], json: string): string {
  const links = report.runs.map(({ scenario }) => `<a href="#${escapeXml(scenario)}">${escapeXml(scenario)}</a>`)
  const note = report.runs.some(({ params }) => params.size === 'tiny')
    ? '<p class="bad">A tiny run: it shows that the suite works, nothing else.</p>'
    : ''
  return `<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width"/>
<title>litetopic benchmarks</title>
<style>${STYLE}</style>
</head>
<body>
<h1>litetopic benchmarks</h1>
<p class="soft">${escapeXml(report.startedAt)}. ${escapeXml(place(report))}. The broker, and the load beside it, shared this machine.</p>
${note}
${goals(judge(report.runs))}
<nav>${links.join('\n')}</nav>
${report.runs.map((run, i) => section(run, place(report), plotsOf[i] ?? [])).join('\n')}
<p>The same figures for programs: <a href="${escapeXml(json)}">${escapeXml(json)}</a>.</p>
</body>
</html>
`
}

function goals(judged: readonly Judged[]): string {
  const count = (verdict: Judged['verdict']): number => judged.filter((one) => one.verdict === verdict).length
  const reached = count('met') + count('aim reached')
  const told = `${reached} of ${judged.length} goals are met, ${count('missed')} are missed, ${count('not measured')} were not measured.`
  return [
    '<section id="goals">',
    `<p><strong>${told}</strong></p>`,
    '<table>',
    '<tr><th>goal</th><th class="number">at least</th><th class="number">aim</th><th class="number">measured</th><th></th><th></th></tr>',
    ...judged.map(goalRow),
    '</table>',
    '</section>',
  ].join('\n')
}

function goalRow({ goal, measured, verdict }: Judged): string {
  const { what, unit, better, least, aim } = goal
  const sign = better === 'more' ? '≥' : '≤'
  const bound = (value: number | undefined): string => (value === undefined ? '' : `${sign} ${short(value)}`)
  const mark = verdict === 'missed' ? 'bad' : verdict === 'not measured' ? 'soft' : 'good'
  const cells = [
    `<td>${escapeXml(what)}</td>`,
    `<td class="number">${bound(least)}</td>`,
    `<td class="number">${bound(aim)}</td>`,
    `<td class="number measured">${measured === undefined ? '–' : short(measured)}</td>`,
    `<td>${escapeXml(unit)}</td>`,
    `<td class="${mark}">${verdict}</td>`,
  ]
  return `<tr>${cells.join('')}</tr>`
}

function section(run: Run, here: string, plots: readonly (Plot | BarPlot)[]): string {
  const { scenario, params, results, wrong = [], startedAt, place: there = here } = run
  const given = Object.entries(params).map(([name, value]) => `${name} ${value}`)
  const when = there === here ? startedAt : `${startedAt} on ${there}`
  const rows = flatten(results).map(
    ([name, value]) => `<tr><td>${escapeXml(name)}</td><td class="number">${value.toLocaleString('en-US')}</td></tr>`,
  )
  return [
    `<section id="${escapeXml(scenario)}">`,
    `<h2>${escapeXml(scenario)}</h2>`,
    `<p class="soft">${escapeXml([...given, when].join(', '))}</p>`,
    ...wrong.map((line) => `<p class="bad">${escapeXml(line)}</p>`),
    `<div class="plots">${plots.map(figure).join('\n')}</div>`,
    `<details><summary>All figures</summary><table>${rows.join('\n')}</table></details>`,
    '</section>',
  ].join('\n')
}

function figure(plot: Plot | BarPlot): string {
  const svg = 'bars' in plot ? barsSvg(plot) : plotSvg(plot)
  return `<figure><figcaption>${escapeXml(plot.title)}</figcaption>\n${svg}\n</figure>`
}
