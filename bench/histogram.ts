/** Times in bounded memory, however many: counts in buckets that are at most 1.6 % wide, from a microsecond to half an hour. */

const SUB_BITS = 6
const SUBS = 2 ** SUB_BITS
const MAX_MICROS = 2 ** 31 - 1

/** Percentiles, in the unit of the samples. */
export type Percentiles = { p50: number; p90: number; p99: number; p999: number; max: number }

export class Histogram {
  private readonly counts = new Float64Array((32 - SUB_BITS) * SUBS)
  samples = 0
  private max = 0

  add(ms: number): void {
    const micros = Math.min(MAX_MICROS, Math.max(0, Math.round(ms * 1000)))
    const bucket = bucketOf(micros)
    this.counts[bucket] = (this.counts[bucket] as number) + 1
    this.samples++
    if (micros > this.max) this.max = micros
  }

  /** Zeros if there were no samples. */
  percentiles(): Percentiles {
    return {
      p50: this.at(0.5),
      p90: this.at(0.9),
      p99: this.at(0.99),
      p999: this.at(0.999),
      max: round(this.max / 1000),
    }
  }

  /** What was counted, for another process to `merge`: bucket and count in turn, and the greatest time in microseconds at the end. */
  buckets(): number[] {
    const pairs: number[] = []
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      const count = this.counts[bucket] as number
      if (count > 0) pairs.push(bucket, count)
    }
    return [...pairs, this.max]
  }

  /** Adds what another one has counted. */
  merge(buckets: readonly number[]): void {
    for (let i = 0; i + 1 < buckets.length; i += 2) {
      const bucket = buckets[i] as number
      const count = buckets[i + 1] as number
      this.counts[bucket] = (this.counts[bucket] as number) + count
      this.samples += count
    }
    this.max = Math.max(this.max, buckets.at(-1) as number)
  }

  /** The upper bound of the bucket in which the share is reached. */
  private at(share: number): number {
    const wanted = Math.ceil(this.samples * share)
    let seen = 0
    for (let bucket = 0; bucket < this.counts.length && wanted > 0; bucket++) {
      seen += this.counts[bucket] as number
      if (seen >= wanted) return round(Math.min(this.max, upperBound(bucket)) / 1000)
    }
    return 0
  }
}

/** Percentiles of a few samples. */
export function percentiles(samples: readonly number[]): Percentiles {
  const histogram = new Histogram()
  for (const sample of samples) histogram.add(sample)
  return histogram.percentiles()
}

export function round(value: number): number {
  return Math.round(value * 100) / 100
}

function bucketOf(micros: number): number {
  if (micros < SUBS) return micros
  const exponent = 31 - Math.clz32(micros)
  return (exponent - SUB_BITS + 1) * SUBS + ((micros >>> (exponent - SUB_BITS)) & (SUBS - 1))
}

function upperBound(bucket: number): number {
  if (bucket < SUBS) return bucket
  const exponent = Math.floor(bucket / SUBS) + SUB_BITS - 1
  return (SUBS + (bucket % SUBS) + 1) * 2 ** (exponent - SUB_BITS) - 1
}
