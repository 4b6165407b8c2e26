/** When two values are the same as JSON: order of keys, and properties that are undefined, do not count. What is no JSON is no other's equal. */

export function sameJson(left: unknown, right: unknown): boolean {
  if (Object.is(left, right)) return true
  if (!isObject(left) || !isObject(right)) return false
  if (Array.isArray(left) !== Array.isArray(right)) return false
  if (!isPlain(left) || !isPlain(right)) return false
  const [ours, theirs] = [definedKeys(left), definedKeys(right)]
  return ours.length === theirs.length && ours.every((key) => sameJson(left[key], right[key]))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function definedKeys(value: Record<string, unknown>): string[] {
  return Object.keys(value).filter((key) => value[key] !== undefined)
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return Array.isArray(value) || prototype === null || Object.getPrototypeOf(prototype) === null
}
