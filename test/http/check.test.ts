/** The part of JSON Schema that routes use, keyword by keyword: what it lets through, and what it says of the rest. */

import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { checkBy, checkSchema, type Schema } from '../../broker/http/check.ts'

const object = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false }

/** A schema, what it lets through, and what it refuses with the words that it is refused with. */
const CASES: [Schema, unknown[], [unknown, string][]][] = [
  [
    { type: 'string' },
    ['', 'a'],
    [
      [1, 'is not string'],
      [null, 'is not string'],
    ],
  ],
  [{ type: ['string', 'null'] }, ['a', null], [[1, 'is not string or null']]],
  [
    { type: 'integer' },
    [0, -1],
    [
      [1.5, 'is not integer'],
      ['1', 'is not integer'],
    ],
  ],
  [{ type: 'number' }, [1.5], [[true, 'is not number']]],
  [{ type: 'boolean' }, [true, false], [['true', 'is not boolean']]],
  [{ type: 'null' }, [null], [[0, 'is not null']]],
  [{ type: 'array' }, [[], [1]], [[{}, 'is not array']]],
  [
    { type: 'object' },
    [{}],
    [
      [[], 'is not object'],
      [null, 'is not object'],
    ],
  ],
  [{ enum: ['a', 'b'] }, ['a'], [['c', 'is none of a, b']]],
  [{ const: 'forever' }, ['forever'], [['ever', 'is not forever']]],
  [
    { minimum: 1, maximum: 3 },
    [1, 3, 'x'],
    [
      [0, 'is less than 1'],
      [4, 'is more than 3'],
    ],
  ],
  [
    { minLength: 1, maxLength: 2 },
    ['a', 5],
    [
      ['', 'is shorter than 1'],
      ['abc', 'is longer than 2'],
    ],
  ],
  [{ pattern: '^[0-9]+$' }, ['12', 12], [['a', 'is not like ^[0-9]+$']]],
  [
    { minItems: 1, maxItems: 1 },
    [[1]],
    [
      [[], 'has fewer than 1 items'],
      [[1, 2], 'has more than 1 items'],
    ],
  ],
  [{ items: { type: 'string' } }, [['a'], []], [[['a', 1], '1 is not string']]],
  [
    object,
    [{ a: 1 }],
    [
      [{}, 'has no a'],
      [{ a: '1' }, 'a is not integer'],
      [{ a: 1, b: 2 }, 'has "b", which is not known'],
    ],
  ],
  [
    { properties: { a: object } },
    [{}, { a: { a: 1 } }],
    [
      [{ a: {} }, 'a has no a'],
      [{ a: { a: '' } }, 'a/a is not integer'],
    ],
  ],
  [{ additionalProperties: { type: 'string' } }, [{ a: 'b' }], [[{ a: 1 }, 'a is not string']]],
  [{ anyOf: [{ type: 'null' }, object] }, [null, { a: 1 }], [[{ a: 'x' }, 'a is not integer']]],
  [{}, [null, 1, 'a', {}], []],
]

describe('a schema', () => {
  for (const [schema, good, bad] of CASES) {
    it(`${JSON.stringify(schema)} is kept, as a validator of others keeps it`, () => {
      checkSchema(schema)
      const validate = new Ajv2020({ strict: false }).compile(schema)
      for (const value of good) expect([checkBy(schema, value, 'it'), validate(value)]).toEqual([null, true])
      for (const [value, words] of bad) {
        const error = checkBy(schema, value, 'it')
        expect([error?.code, validate(value)]).toEqual(['BAD_REQUEST', false])
        expect(error?.message).toContain(words)
      }
    })
  }

  it('does not look into prototypes', () => {
    const value = JSON.parse('{"__proto__": 1}') as unknown
    expect(checkBy(object, value, 'it')?.message).toContain('has no a')
    expect(checkBy({ ...object, required: [] }, value, 'it')?.message).toContain('"__proto__", which is not known')
    expect(checkBy({ ...object, required: [] }, { toString: 1 }, 'it')?.message).toContain('"toString"')
  })

  it('says where it is not kept', () => {
    const schema = { type: 'object', properties: { list: { type: 'array', items: object } } }
    const error = checkBy(schema, { list: [{ a: 1 }, { a: 'x' }] }, 'body')
    expect(error?.message).toBe('body: list/1/a is not integer')
    expect(error?.details).toEqual({ reason: 'SCHEMA', in: 'body', path: '/list/1/a' })
  })

  it('with a keyword that is not checked is no schema of a route', () => {
    const deep = { anyOf: [{ properties: { a: { items: { multipleOf: 2 } } } }] }
    expect(() => checkSchema(deep)).toThrow('multipleOf')
  })
})
