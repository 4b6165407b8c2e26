/** Is a page well-formed XML? As far as a page without comments and CDATA can be wrong: tags, attributes, entities. */

const TAG = /<(\/?)([a-z][a-zA-Z0-9]*)((?:\s+[a-zA-Z][\w:-]*="[^"<]*")*)\s*(\/?)>/y

/** What is wrong with it; nothing if it is well-formed. */
export function tagErrors(page: string): string[] {
  const body = page.replace(/^<!DOCTYPE html>\n/, '')
  const open: string[] = []
  let at = 0
  while (at < body.length) {
    const next = body.indexOf('<', at)
    const text = body.slice(at, next < 0 ? undefined : next)
    if (/&(?!#\d+;)/.test(text)) return [`a bare & in ${JSON.stringify(text.slice(0, 60))}`]
    if (next < 0) break
    TAG.lastIndex = next
    const tag = TAG.exec(body)
    if (tag === null) return [`no tag: ${body.slice(next, next + 60)}`]
    const [whole, closing, name = '', , single] = tag
    if (closing === '/') {
      const opened = open.pop()
      if (opened !== name) return [`</${name}> closes <${opened}>`]
    } else if (single !== '/') open.push(name)
    at = next + whole.length
  }
  return open.map((name) => `<${name}> is not closed`)
}
