/**
 * What is on every response, whoever sends it. There are no cookies, and whoever reaches the port may use it by WebSocket, too: so pages
 * of any origin may ask, and see every header.
 */

export const FIXED_HEADERS: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': '*',
  'cross-origin-resource-policy': 'cross-origin',
  'x-content-type-options': 'nosniff',
  // What users store is no page of this site, whatever type they gave it.
  'content-security-policy': "default-src 'none'; sandbox",
}

export function fixedHeaders(requestId: string): Record<string, string> {
  return { ...FIXED_HEADERS, 'x-request-id': requestId }
}
