/** Where keys and channels of Redis lie: a topic for each. */

/** Below it are all topics of this integration, for policies and access. */
export const TOPIC_PREFIX = 'resumable-stream'

export function keyTopic(key: string): string {
  return `${TOPIC_PREFIX}/keys/${segment(key)}`
}

export function channelTopic(channel: string): string {
  return `${TOPIC_PREFIX}/channels/${segment(channel)}`
}

const utf8 = new TextEncoder()

/** One segment of a topic's name: what may not be in one is `~` and two hex digits for each byte. Another text has another segment. */
function segment(text: string): string {
  if (text === '' || text === '.' || text === '..') return `~${text}`
  return text.replace(/[^A-Za-z0-9._:@-]+/g, (other) => {
    let hex = ''
    for (const byte of utf8.encode(other)) hex += `~${byte.toString(16).padStart(2, '0')}`
    return hex
  })
}
