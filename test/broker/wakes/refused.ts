/** With which code something is refused. */

export function codeThrown(act: () => unknown): string {
  try {
    act()
    return 'nothing'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}
