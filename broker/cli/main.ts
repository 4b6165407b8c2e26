#!/usr/bin/env node
/** The command line of litetopic: what there is to say and how; what it does lies in a file per command. */

import { createRequire } from 'node:module'
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { DEFAULT_HOST, DEFAULT_PORT, isLitetopicError, LitetopicError } from '../../protocol/index.ts'
import { parseRights } from '../access/rights.ts'
import { type CommandWords, completion, SHELLS, type Shell } from './completion.ts'
import { DEFAULT_DATA_DIR, durability, port } from './config.ts'
import { type DeleteOptions, deleteTopic } from './delete.ts'
import { parseDuration, parseLinger } from './duration.ts'
import { describeFailure, EXIT } from './failure.ts'
import { type ForkOptions, fork } from './fork.ts'
import { type InspectOptions, inspect } from './inspect.ts'
import { createKey, type GrantOption, type KeyOptions, listKeys, parseGrant, revokeKey } from './key.ts'
import { type ListOptions, list } from './list.ts'
import { write } from './output.ts'
import { type PinOptions, pin } from './pin.ts'
import { type PublishOptions, publish } from './publish.ts'
import { publishFile } from './publish-file.ts'
import { TOKEN_VARIABLE, URL_VARIABLE } from './remote.ts'
import { type ResumeOptions, resume } from './resume.ts'
import type { ServeOptions } from './serve.ts'
import { type StopOptions, stop } from './stop.ts'
import { type TailOptions, tail } from './tail.ts'
import { type TokenOptions, token } from './token.ts'
import type { TopOptions } from './top.ts'
import type { VerifyFlags } from './verify.ts'

// A reader of the output that leaves early, such as head, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : EXIT.failure))
process.exit(await run(process.argv))

async function run(argv: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(argv)
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage
    const { line, exitCode } = describeFailure(error, argv[2])
    console.error(line)
    return exitCode
  }
}

function program(): Command {
  const { version } = createRequire(import.meta.url)('litetopic/package.json') as { version: string }
  const command = new Command('litetopic')
    .description('A message broker for AI agents: one durable, ordered, resumable topic per agent session.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(see litetopic --help)')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', `\nExit codes: 0 success, 1 failure, 2 wrong usage or configuration.`)
  addServe(command)
  addPublish(command)
  addTail(command)
  addList(command)
  addInspect(command)
  addResume(command)
  addStop(command)
  addDelete(command)
  addPin(command)
  addFork(command)
  addTop(command)
  addVerify(command)
  addBackup(command)
  addKey(command)
  addToken(command)
  addCompletion(command)
  return command
}

function addServe(program: Command): void {
  program
    .command('serve')
    .description('run a broker until SIGINT or SIGTERM')
    .option('--host <host>', `address to listen on (default: ${DEFAULT_HOST})`)
    .option('--port <port>', `port to listen on; 0 for any free one (default: ${DEFAULT_PORT})`, value(port, 'port'))
    .option('--data <directory>', `where the data is kept (default: ${DEFAULT_DATA_DIR})`)
    .option(
      '--linger <duration>',
      'how long a topic outlives its last connection: 10m, 1h, forever',
      value(parseLinger),
    )
    .option('--durability <how>', '"fsync" (default) or "os", faster', value(durability, 'durability'))
    .option('--webhook-hosts <hosts>', 'where webhooks may go, with commas between (default: nowhere)', (text) =>
      text.split(','),
    )
    .option(
      '--tls-cert <file>',
      'speak TLS with this certificate and those behind it in the file, PEM; SIGHUP reads it again',
    )
    .option('--tls-key <file>', 'its private key, PEM')
    .option(
      '--allow-origin <origin>',
      'web pages that may use the broker, such as https://app.example.com, or *; as often as needed',
      (text, before: string[] = []) => [...before, text],
    )
    .option('--insecure-open', 'without access configured, let whoever reaches the broker do everything')
    .option('--public-url <url>', 'where others reach this broker: what webhooks are told to call back')
    .option('--config <file>', 'JSON: host, port, data, durability, linger, policies; options come before it')
    .action(async (options: ServeFlags) => {
      // The other commands do without the store, and start faster.
      const { serve } = await import('./serve.ts')
      await serve(serveOptions(options))
    })
}

function addPublish(program: Command): void {
  remote(program.command('publish <topic>'))
    .description('publish standard input as a token stream, as it comes, or a file as one message')
    .option('--stream <id>', 'id of the stream (default: a new one)')
    .option('--part <part>', 'part of the tokens, for format text (default: text)')
    .addOption(
      new Option('--format <format>', 'auto: recognise the recorded stream of a model').choices(['text', 'auto']),
    )
    .addOption(
      new Option('--file <file>', 'publish this whole file as one message instead').conflicts([
        'stream',
        'part',
        'format',
      ]),
    )
    .action(async (topic: string, { file, ...options }: PublishOptions & { readonly file?: string }) =>
      file === undefined ? publish(topic, options) : publishFile(topic, file, options),
    )
}

function addTail(program: Command): void {
  remote(program.command('tail <topic>'))
    .description('follow a topic until it is deleted or reclaimed')
    .option('--from <position>', 'start, live, or a cursor (default: start)')
    .option('--json', 'one record a line, as JSON')
    .action(async (topic: string, options: TailOptions) => tail(topic, options))
}

function addList(program: Command): void {
  remote(program.command('list [prefix]'))
    .description('list topics, all or those below a prefix')
    .option('--json', 'one topic a line, as JSON')
    .action(async (prefix: string | undefined, options: ListOptions) => list(prefix ?? '', options))
}

function addInspect(program: Command): void {
  remote(program.command('inspect <topic>'))
    .description('show a topic: its state, streams, checkpoints and context')
    .option('--json', 'as JSON')
    .action(async (topic: string, options: InspectOptions) => inspect(topic, options))
}

function addResume(program: Command): void {
  remote(program.command('resume <topic>'))
    .description('show where a session stands, as an agent that comes back sees it, and follow it from there')
    .option('--checkpoint <name>', 'from this checkpoint (default: the newest)')
    .addOption(new Option('--cursor <cursor>', 'from this cursor instead').conflicts('checkpoint'))
    .option('--once', 'only show where it stands')
    .option('--json', 'as lines of JSON: where it stands, then the records')
    .action(async (topic: string, options: ResumeOptions) => resume(topic, options))
}

function addStop(program: Command): void {
  remote(program.command('stop <topic> [stream]'))
    .description('stop a stream, or all that are open; readers and writers are told')
    .option('--reason <text>', 'why, for who writes and who reads')
    .option('--json', 'one stream a line, as JSON')
    .action(async (topic: string, stream: string | undefined, options: StopOptions) => stop(topic, stream, options))
}

function addDelete(program: Command): void {
  remote(program.command('delete <topic>'))
    .description('delete a topic and all that is in it')
    .option('--json', 'as JSON')
    .action(async (topic: string, options: DeleteOptions) => deleteTopic(topic, options))
}

function addPin(program: Command): void {
  remote(program.command('pin <topic>'))
    .description('have a topic stay when its last connection is gone')
    .option('--linger <duration>', 'for so long: 10m, 1h (default: forever)', value(parseLinger))
    .option('--json', 'its policy, as JSON')
    .action(async (topic: string, options: PinOptions) => pin(topic, options))
}

function addFork(program: Command): void {
  remote(program.command('fork <topic> <name>'))
    .description('make a topic that begins with what this one has, and goes on by itself')
    .option('--at <cursor>', 'up to this cursor (default: the end)')
    .addOption(new Option('--checkpoint <name>', 'up to this checkpoint instead, or "latest"').conflicts('at'))
    .option('--json', 'as JSON')
    .action(async (topic: string, name: string, options: ForkOptions) => fork(topic, name, options))
}

function addTop(program: Command): void {
  remote(program.command('top [prefix]'))
    .description('watch sessions, rates and connections, live; q to leave')
    .option('--every <duration>', 'between two looks (default: 1s)', value(parseDuration))
    .option('--count <looks>', 'so many looks, instead of going on', value(count, 'count'))
    .option('--json', 'one look a line, as JSON')
    .action(async (prefix: string | undefined, options: TopOptions) => {
      const { top } = await import('./top.ts')
      await top(prefix ?? '', options)
    })
}

function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print what a shell needs to complete commands: eval "$(litetopic completion bash)"')
    .addArgument(new Argument('<shell>').choices([...SHELLS]))
    .action(async (shell: Shell) => write(completion(program.commands.map(wordsOf), shell)))
}

function wordsOf(command: Command): CommandWords {
  const options = command.options.flatMap(({ long }) => long ?? [])
  return { name: command.name(), about: command.description(), options }
}

function count(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new LitetopicError('BAD_REQUEST', `${JSON.stringify(text)} is no number of looks: write 1 or more`)
}

function addVerify(program: Command): void {
  program
    .command('verify <directory>')
    .description('check a data directory that no broker has open, and print what is damaged')
    .option('--json', 'one damage a line, as JSON, and then the summary')
    .option('--salvage <directory>', 'copy what is sound into a new data directory')
    .action(async (directory: string, options: VerifyFlags) => {
      const { verify } = await import('./verify.ts')
      await verify(directory, options)
    })
}

function addBackup(program: Command): void {
  program
    .command('backup <directory> <target>')
    .description('copy the data directory of a broker, running or stopped, into a new one')
    .action(async (directory: string, target: string) => {
      const { backup } = await import('./backup.ts')
      await backup(directory, target)
    })
}

function addKey(program: Command): void {
  const key = program.command('key').description('API keys: who may use a broker, running or not, and for what')
  const withData = (command: Command): Command =>
    command.option('--data <directory>', `the data directory of the broker (default: ${DEFAULT_DATA_DIR})`)
  withData(key.command('create <name>'))
    .description('make a key and print it')
    .option(
      '--grant <prefix=rights>',
      'read, write, stop, manage, all or none, on a prefix or *; as often as needed',
      (text, before: GrantOption[] = []) => [...before, value(parseGrant)(text)],
    )
    .option('--json', 'as JSON')
    .action(async (name: string, options: KeyOptions & { grant?: GrantOption[] }) => createKey(name, options))
  withData(key.command('list'))
    .description('list keys, by which no key can be known')
    .option('--json', 'one key a line, as JSON')
    .action(async (options: KeyOptions) => listKeys(options))
  withData(key.command('revoke <id>'))
    .description('revoke a key, and the tokens that it has issued')
    .action(async (id: string, options: KeyOptions) => revokeKey(id, options))
}

function addToken(program: Command): void {
  remote(program.command('token'))
    .description('print a token for a browser: some rights on a topic or prefix, for a while')
    .requiredOption('--topic <topic>', 'the topic, or prefix, that it is for')
    .requiredOption('--can <rights>', 'read, write, stop, manage, with commas between', value(parseRights, '--can'))
    .option('--for <duration>', 'how long it is good for, at most 30d (default: 1h)', value(parseDuration))
    .option('--as <name>', 'who has it, which its records carry (default: token)')
    .option('--data <directory>', `the data directory that signs it, without --url (default: ${DEFAULT_DATA_DIR})`)
    .option('--json', 'as JSON')
    .action(async (options: TokenOptions) => token(options))
}

interface ServeFlags extends Omit<ServeOptions, 'dataDir' | 'lingerMs'> {
  allowOrigin?: string[]
  data?: string
  linger?: number | 'forever'
}

function serveOptions({ data, linger, allowOrigin, ...rest }: ServeFlags): ServeOptions {
  return {
    ...rest,
    ...(allowOrigin === undefined ? {} : { allowOrigins: allowOrigin }),
    ...(data === undefined ? {} : { dataDir: data }),
    ...(linger === undefined ? {} : { lingerMs: linger }),
  }
}

function remote(command: Command): Command {
  return command
    .option('--url <url>', `the broker's address (default: ${URL_VARIABLE}, or the default of serve)`)
    .option('--token-file <file>', `has an API key or token (default: what is in ${TOKEN_VARIABLE})`)
}

/** Has commander name the option when its value is refused. */
function value<T>(parse: (text: string, key: string) => T, key = ''): (text: string) => T {
  return (text) => {
    try {
      return parse(text, key)
    } catch (error) {
      if (isLitetopicError(error)) throw new InvalidArgumentError(error.message)
      throw error
    }
  }
}
