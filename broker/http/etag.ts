/** Conditional requests: what `If-Match` and `If-None-Match` say of an entity tag. RFC 9110, 13.1. */

/** Is the tag one of those listed? Weak ones are as good as strong ones only where `weakly`. */
function lists(header: string, tag: string, weakly: boolean): boolean {
  if (header.trim() === '*') return true
  const bare = (value: string): string => (weakly ? value.replace(/^W\//, '') : value)
  return header.split(',').some((listed) => bare(listed.trim()) === bare(tag))
}

/** Has the client what it asks for already? `If-None-Match` of a GET or HEAD. */
export function isNotModified(ifNoneMatch: string | undefined, tag: string): boolean {
  return ifNoneMatch !== undefined && lists(ifNoneMatch, tag, true)
}

/** May a request that changes the thing go on? `tag` is null if there is no such thing. */
export function mayChange(
  { 'if-match': ifMatch, 'if-none-match': ifNoneMatch }: { 'if-match'?: string; 'if-none-match'?: string },
  tag: string | null,
): boolean {
  if (ifMatch !== undefined && (tag === null || !lists(ifMatch, tag, false))) return false
  return ifNoneMatch === undefined || tag === null || !lists(ifNoneMatch, tag, true)
}
