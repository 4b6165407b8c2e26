/** The page of `--report`: plots first, then every figure, for people who look once. Well-formed XML, without a script. */

import { type BarPlot, barsSvg } from './bars.ts'
import { escapeXml, type Plot, plotSvg } from './plot.ts'
import { flatten, place, type Report } from './report.ts'

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1917 }
svg { width: 100%; height: auto; font-size: 12px } svg text { fill: #44403c } .grid { stroke: #e7e5e4 }
figure { margin: 1.5rem 0 } figcaption { font-weight: 600 } table { border-collapse: collapse }
td { padding: 1px 1rem 1px 0; border-bottom: 1px solid #e7e5e4 } td + td { text-align: right; font-variant-numeric: tabular-nums }
`

/** `plotsOf`: the plots of each run, in the order of the report's runs. `json`: name of the file beside it with the same figures. */
export function page(report: Report, plotsOf: readonly (readonly (Plot | BarPlot)[])[], json: string): string {
  const sections = report.runs.map(({ scenario, params, results }, i) => {
    const given = Object.entries(params).map(([name, value]) => `${name} ${value}`)
    const rows = flatten(results).map(
      ([name, value]) => `<tr><td>${escapeXml(name)}</td><td>${value.toLocaleString('en-US')}</td></tr>`,
    )
    return [
      `<section id="${escapeXml(scenario)}">`,
      `<h2>${escapeXml(scenario)}</h2>`,
      `<p>${escapeXml(given.join(', '))}</p>`,
      ...(plotsOf[i] ?? []).map(figure),
      `<details><summary>All figures</summary><table>${rows.join('\n')}</table></details>`,
      '</section>',
    ].join('\n')
  })
  const note =
    report.size === 'tiny' ? '<p><strong>A tiny run: it shows that the suite works, nothing else.</strong></p>' : ''
  return `<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<title>litetopic benchmarks</title>
<style>${STYLE}</style>
</head>
<body>
<h1>litetopic benchmarks</h1>
<p>${escapeXml(report.startedAt)}. ${escapeXml(place(report))}. The broker, and the load beside it, shared this machine.</p>
${note}
${sections.join('\n')}
<p>The same figures for programs: <a href="${escapeXml(json)}">${escapeXml(json)}</a>.</p>
</body>
</html>
`
}

function figure(plot: Plot | BarPlot): string {
  const svg = 'bars' in plot ? barsSvg(plot) : plotSvg(plot)
  return `<figure><figcaption>${escapeXml(plot.title)}</figcaption>\n${svg}\n</figure>`
}
