/** Messages of a JSON body: where they begin and end, byte for byte, and what is refused. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { jsonValues } from '../../../broker/http/durable-streams/json-values.ts'
import { LitetopicError } from '../../../protocol/index.ts'

const values = (body: string | Buffer): string[] => jsonValues(Buffer.from(body)).map((value) => value.toString('utf8'))

test('a value is one message, an array one for each element, and only its outermost level is opened', () => {
  expect(values('{"event":"created"}')).toEqual(['{"event":"created"}'])
  expect(values('[{"event":"a"},{"event":"b"}]')).toEqual(['{"event":"a"}', '{"event":"b"}'])
  expect(values('[[1,2],[3,4]]')).toEqual(['[1,2]', '[3,4]'])
  expect(values('[[[1,2,3]]]')).toEqual(['[[1,2,3]]'])
  expect(values('"[1,2]"')).toEqual(['"[1,2]"'])
  expect(values('null')).toEqual(['null'])
  expect(values(' [ ] ')).toEqual([])
  expect(values('[[]]')).toEqual(['[]'])
})

test('numbers, escapes and white space within a message stay as they were sent', () => {
  const exact = '{"n":1.0,"big":12345678901234567890,"e":1E+2,"a":1,"a":2, "u":"\\u00e9\\/"}'
  expect(values(exact)).toEqual([exact])
  expect(values(`\n\t[ ${exact} ,\r\n -0 ,"é,]\\"[" ]  `)).toEqual([exact, '-0', '"é,]\\"["'])
})

test('for any values and any white space around them, the elements are their JSON', () => {
  const space = fc.array(fc.constantFrom(' ', '\n', '\r', '\t'), { maxLength: 3 }).map((parts) => parts.join(''))
  const element = fc.tuple(space, fc.jsonValue(), space)
  fc.assert(
    fc.property(fc.array(element), space, (elements, around) => {
      const body = `${around}[${elements.map(([before, value, after]) => before + JSON.stringify(value) + after).join(',')}]${around}`
      expect(values(body)).toEqual(elements.map(([, value]) => JSON.stringify(value)))
    }),
  )
})

test('what is not JSON is refused', () => {
  const bad = [
    '',
    ' ',
    '[1,]',
    '[,1]',
    '[1 2]',
    '[1',
    '1]',
    '{"a":}',
    '[1]x',
    '[{]}',
    'undefined',
    'NaN',
    "{'a':1}",
    '\ufeff1',
  ]
  for (const body of bad) expect(() => values(body), body).toThrow(LitetopicError)
  expect(() => values(Buffer.from([0x22, 0xff, 0x22]))).toThrow('not UTF-8')
  fc.assert(
    fc.property(fc.string(), (body) => {
      let isJson = true
      try {
        JSON.parse(body)
      } catch {
        isJson = false
      }
      if (isJson) expect(() => values(body)).not.toThrow()
      else expect(() => values(body)).toThrow('not JSON')
    }),
  )
})

test('an array nested a hundred thousand times is one message', () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  expect(values(`[${deep}]`)).toEqual([deep])
})
