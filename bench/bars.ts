/** A bar plot as inline SVG: one figure of several competitors under each other, each with its name and its value. */

import { escapeXml, seriesClass, short } from './plot.ts'

export interface BarPlot {
  readonly title: string
  /** Said below the bars. */
  readonly unit: string
  readonly bars: readonly { readonly label: string; readonly value: number }[]
}

const WIDTH = 720
const LEFT = 200
const RIGHT = 80
const TOP = 8
const BAR = 20
const STEP = 28
const BOTTOM = 26

/** From 0 to the largest value; the first bar is set off from the others. */
export function barsSvg({ title, unit, bars }: BarPlot): string {
  const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE)
  const height = TOP + STEP * bars.length + BOTTOM
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeXml(title)}">`,
  ]
  bars.forEach(({ label, value }, i) => {
    const y = TOP + STEP * i
    const middle = y + BAR / 2
    const width = ((WIDTH - LEFT - RIGHT) * Math.max(value, 0)) / most
    const colour = seriesClass(i === 0 ? 1 : 0)
    parts.push(
      `<text x="${LEFT - 8}" y="${middle}" dy="4" text-anchor="end">${escapeXml(label)}</text>`,
      `<rect class="bar ${colour}" x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}"/>`,
      `<text x="${(LEFT + width + 6).toFixed(1)}" y="${middle}" dy="4">${short(value)}</text>`,
    )
  })
  parts.push(`<text x="${LEFT}" y="${height - 8}">${escapeXml(unit)}</text>`)
  return `${parts.join('\n')}\n</svg>`
}
