/** How the story looks on a terminal and in a pipe. */

import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { Narrator } from '../../client/demo/narrator.ts'

function told(isTTY: boolean, tell: (narrator: Narrator) => void): string {
  let text = ''
  const output = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk)
      done()
    },
  })
  tell(new Narrator(Object.assign(output, { isTTY, columns: 80 })))
  return text
}

const reply = (narrator: Narrator): void => {
  narrator.step('It begins.')
  for (let i = 0; i <= 1000; i++) narrator.progress(i, 1000, `text\n\x1b[31m of token ${i}`)
  narrator.fact('It ends.')
}

test('into a pipe, progress is a handful of plain lines', () => {
  const lines = told(false, reply).split('\n')
  expect(lines.length).toBeLessThan(15)
  expect(lines.join('')).not.toMatch(/\r|\p{Cc}\[/u)
  expect(lines).toContain('   the reader has 1000/1000 tokens')
})

test('on a terminal, progress is one line that is rewritten and never wraps', () => {
  const output = told(true, reply)
  const shown = output.split('\r\x1b[2K').slice(1)
  expect(shown.length).toBe(1001)
  expect(shown.at(-1)).toContain('1000/1000 tokens')
  for (const line of shown.slice(0, -1)) {
    expect(line.length).toBeLessThan(80)
    expect(line).not.toMatch(/\p{Cc}/u)
  }
  expect(output.endsWith('\n   It ends.\n')).toBe(true)
})

test('on a terminal, wide characters are given the room they take', () => {
  const output = told(true, (narrator) => narrator.progress(1, 2, '漢'.repeat(200)))
  const line = output.split('\x1b[2K')[1] ?? ''
  expect(line.length + line.split('漢').length - 1).toBeLessThan(80)
})
