/** What is on every response, whoever sends it. What a page may see of it says origins.ts. */

export const FIXED_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  // What users store is no page of this site, whatever type they gave it.
  'content-security-policy': "default-src 'none'; sandbox",
}

export function fixedHeaders(requestId: string): Record<string, string> {
  return { ...FIXED_HEADERS, 'x-request-id': requestId }
}
