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
const HEIGHT = 300
const LEFT = 88
const RIGHT = 36
const TOP = 14
const BOTTOM = 50
const LEGEND_LINE = 22
/** Beyond so many points a line is drawn without them. */
const POINTS_DRAWN = 60
/** How many series look different. */
export const SERIES_STYLES = 6

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
  const height = HEIGHT + LEGEND_LINE * series.length + 6
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeXml(title)}">`,
  ]
  for (const tick of along.ticks) {
    parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${py(tick)}" y2="${py(tick)}"/>`)
    parts.push(`<text class="tick" x="${LEFT - 8}" y="${py(tick)}" dy="4" text-anchor="end">${short(tick)}</text>`)
  }
  for (const tick of across.ticks) {
    parts.push(
      `<line class="grid" x1="${px(tick)}" x2="${px(tick)}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM + 4}"/>`,
      `<text class="tick" x="${px(tick)}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${short(tick)}</text>`,
    )
  }
  parts.push(
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escapeXml(x.label)}</text>`,
  )
  const middle = (TOP + HEIGHT - BOTTOM) / 2
  parts.push(
    `<text x="14" y="${middle}" text-anchor="middle" transform="rotate(-90 14 ${middle})">${escapeXml(y.label)}</text>`,
  )
  series.forEach((one, i) => {
    parts.push(...drawn(one, i, px, py))
    const legendY = HEIGHT + LEGEND_LINE * (i + 0.5)
    parts.push(
      `<line class="line ${seriesClass(i)}" x1="${LEFT}" x2="${LEFT + 26}" y1="${legendY - 4}" y2="${legendY - 4}"/>`,
    )
    parts.push(`<text x="${LEFT + 34}" y="${legendY}">${escapeXml(one.label)}</text>`)
  })
  return `${parts.join('\n')}\n</svg>`
}

/** Has its colour, for light, dark and paper, and its dashes from the page. */
export function seriesClass(index: number): string {
  return `s${index % SERIES_STYLES}`
}

/** A line, and its points unless there are many. */
function drawn({ points }: Series, index: number, px: (x: number) => string, py: (y: number) => string): string[] {
  const path = points.map(([at, value]) => `${px(at)},${py(value)}`).join(' ')
  const line = `<polyline class="line ${seriesClass(index)}" points="${path}"/>`
  if (points.length > POINTS_DRAWN) return [line]
  const circles = points.map(
    ([at, value]) =>
      `<circle class="${seriesClass(index)}" cx="${px(at)}" cy="${py(value)}" r="3.5"><title>${short(value)}</title></circle>`,
  )
  return [line, ...circles]
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

function scale(values: readonly number[], { log }: Axis): Scale {
  return log === true ? logScale(values.filter((value) => value > 0)) : linearScale(values)
}

/** From 0, or from below if there is less. */
function linearScale(values: readonly number[]): Scale {
  const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)]
  const span = most > least ? most - least : 1
  const power = 10 ** Math.floor(Math.log10(span))
  const step = ([0.2, 0.5, 1, 2].find((factor) => span / (factor * power) <= 6) ?? 2) * power
  const [first, last] = [Math.floor(least / step), Math.ceil((least + span) / step)]
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step)
  return { at: (value) => (value / step - first) / (last - first), ticks }
}

/** From the power of ten below to the one above; with ticks between them where there are few. */
function logScale(values: readonly number[]): Scale {
  const low = values.length === 0 ? 0 : Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, values.length === 0 ? 1 : Math.ceil(Math.log10(Math.max(...values))))
  const factors = high - low > 2 ? [1] : [1, 2, 5]
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
    .flatMap((power) => factors.map((factor) => power * factor))
    .filter((tick) => tick <= 10 ** high)
  return { at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low), ticks }
}

/** Three digits, for people. */
export function short(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: 3 })
}
