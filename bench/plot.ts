/** A line plot as inline SVG, in a few lines of our own: axes, ticks, lines with points, a legend. */

export interface Axis {
  readonly label: string
  /** Logarithmic. Default: linear, from 0. */
  readonly log?: boolean
}

export interface Series {
  readonly label: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface Plot {
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly series: readonly Series[]
}

const WIDTH = 720
const HEIGHT = 320
const LEFT = 80
const RIGHT = 16
const TOP = 16
const BOTTOM = 44
const LEGEND_LINE = 18
const COLOURS = ['#0b62a4', '#c2410c', '#15803d', '#7e22ce', '#a16207', '#be123c']

interface Scale {
  /** From 0 to 1. */
  readonly at: (value: number) => number
  readonly ticks: readonly number[]
}

export function plotSvg({ title, x, y, series }: Plot): string {
  const points = series.flatMap((one) => one.points)
  const [across, along] = [
    scale(
      points.map(([at]) => at),
      x,
    ),
    scale(
      points.map(([, at]) => at),
      y,
    ),
  ]
  const px = (value: number): string => (LEFT + across.at(value) * (WIDTH - LEFT - RIGHT)).toFixed(1)
  const py = (value: number): string => (HEIGHT - BOTTOM - along.at(value) * (HEIGHT - TOP - BOTTOM)).toFixed(1)
  const height = HEIGHT + LEGEND_LINE * series.length
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeXml(title)}">`,
  ]
  for (const tick of along.ticks) {
    parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${py(tick)}" y2="${py(tick)}"/>`)
    parts.push(`<text class="tick" x="${LEFT - 6}" y="${py(tick)}" dy="4" text-anchor="end">${short(tick)}</text>`)
  }
  for (const tick of across.ticks) {
    parts.push(
      `<text class="tick" x="${px(tick)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${short(tick)}</text>`,
    )
  }
  parts.push(
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeXml(x.label)}</text>`,
  )
  const middle = (TOP + HEIGHT - BOTTOM) / 2
  parts.push(
    `<text x="14" y="${middle}" text-anchor="middle" transform="rotate(-90 14 ${middle})">${escapeXml(y.label)}</text>`,
  )
  series.forEach((one, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const path = one.points.map(([at, value]) => `${px(at)},${py(value)}`).join(' ')
    parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="2" points="${path}"/>`)
    for (const [at, value] of one.points) {
      parts.push(
        `<circle cx="${px(at)}" cy="${py(value)}" r="3.5" fill="${colour}"><title>${short(value)}</title></circle>`,
      )
    }
    const legendY = HEIGHT + LEGEND_LINE * (i + 0.5)
    parts.push(`<rect x="${LEFT}" y="${legendY - 9}" width="12" height="12" fill="${colour}"/>`)
    parts.push(`<text x="${LEFT + 18}" y="${legendY + 2}">${escapeXml(one.label)}</text>`)
  })
  return `${parts.join('\n')}\n</svg>`
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

function scale(values: readonly number[], { log }: Axis): Scale {
  return log === true ? logScale(values.filter((value) => value > 0)) : linearScale(Math.max(0, ...values))
}

function linearScale(most: number): Scale {
  const end = most > 0 ? most : 1
  const power = 10 ** Math.floor(Math.log10(end))
  const step = ([0.2, 0.5, 1, 2].find((factor) => end / (factor * power) <= 6) ?? 2) * power
  const top = Math.ceil(end / step) * step
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step)
  return { at: (value) => value / top, ticks }
}

/** Whole powers of ten; at least two of them. */
function logScale(values: readonly number[]): Scale {
  const low = values.length === 0 ? 0 : Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, values.length === 0 ? 1 : Math.ceil(Math.log10(Math.max(...values))))
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
  return { at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low), ticks }
}

/** Three digits, for people. */
export function short(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: 3 })
}
