/** `litetopic completion`: what a shell needs to complete commands and options, made from the command line itself. */

import type { Command } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

interface Words {
  readonly name: string
  readonly about: string
  readonly options: readonly string[]
}

/** A script for the shell to read, as `eval "$(litetopic completion bash)"` does. */
export function completion(program: Command, shell: Shell): string {
  const commands = program.commands.map((command) => ({
    name: command.name(),
    about: command.description(),
    options: command.options.flatMap(({ long }) => long ?? []),
  }))
  return { bash, zsh, fish }[shell](commands)
}

function bash(commands: readonly Words[]): string {
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
function zsh(commands: readonly Words[]): string {
  return `autoload -Uz compinit bashcompinit\ncompinit\nbashcompinit\n${bash(commands)}`
}

function fish(commands: readonly Words[]): string {
  const lines = commands.flatMap(({ name, about, options }) => [
    `complete -c litetopic -n __fish_use_subcommand -a ${name} -d '${about.replaceAll("'", '')}'`,
    ...options.map((option) => `complete -c litetopic -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`),
  ])
  return `${lines.join('\n')}\n`
}
