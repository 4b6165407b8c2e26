/** `litetopic completion`: what a shell needs to complete commands and options, made from the command line itself. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** A command as it can be completed: its name, what it does, and its options with their dashes. */
export interface CommandWords {
  readonly name: string
  readonly about: string
  readonly options: readonly string[]
}

/** A script for the shell to read, as `eval "$(litetopic completion bash)"` does. */
export function completion(commands: readonly CommandWords[], shell: Shell): string {
  return { bash, zsh, fish }[shell](commands)
}

function bash(commands: readonly CommandWords[]): string {
  const cases = commands.map(({ name, options }) => `    ${name}) words="${options.join(' ')}" ;;`)
  return `_litetopic() {
  local words="${commands.map(({ name }) => name).join(' ')} --help --version"
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
    *) words="" ;;
    esac
    words="$words --help"
  fi
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _litetopic litetopic
`
}

/** zsh takes completions written for bash. */
function zsh(commands: readonly CommandWords[]): string {
  return `autoload -Uz compinit bashcompinit\ncompinit\nbashcompinit\n${bash(commands)}`
}

function fish(commands: readonly CommandWords[]): string {
  const lines = commands.flatMap(({ name, about, options }) => [
    `complete -c litetopic -n __fish_use_subcommand -a ${name} -d '${about.replaceAll("'", '')}'`,
    ...options.map((option) => `complete -c litetopic -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`),
  ])
  return `${lines.join('\n')}\n`
}
