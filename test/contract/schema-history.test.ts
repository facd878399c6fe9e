import { describe, expect, test } from 'vitest'
import * as shapes from '#libs/streams/avro-shapes.ts'
import * as inbox from '#libs/streams/inbox-shapes.ts'
import { presenceEventFromAvro } from '#libs/streams/presence-shape.ts'
import { productUpdateFromAvro } from '#libs/streams/product-shape.ts'
import { type AvroSchema, problemsOf, randomValue, readSubjects, seeded, strayHistories, typeOf } from './schema-history.ts'

/** How this version reads a value of each topic. */
const fromAvro: Readonly<Record<string, (value: unknown) => unknown>> = {
  'order-events': shapes.orderEventFromAvro,
  'chat-commands': shapes.commandFromAvro,
  'room-events': shapes.decisionFromAvro,
  'room-state': shapes.stateRecordFromAvro,
  'product-updates': productUpdateFromAvro,
  'presence-events': presenceEventFromAvro,
  'inbox-updates': inbox.inboxUpdateFromAvro,
  'inbox-commands': inbox.inboxCommandFromAvro,
  'user-events': inbox.userDecisionFromAvro,
  'inbox-state': inbox.inboxStateFromAvro,
}

const subjects = readSubjects()
const VALUES_PER_VERSION = 200
const everyVersion = subjects.flatMap((subject) => subject.versions.map((version) => ({ subject, version, title: `${subject.name} ${version.number}` })))

describe('the versions of each schema', () => {
  test.each(subjects)('$name: the last one is what is in use, and each reads what those before it wrote', (subject) => {
    expect(problemsOf(subject)).toEqual([])
  })

  test('belong to a topic, and every schema has a reader here', () => {
    expect(strayHistories(subjects)).toEqual([])
    expect(Object.keys(fromAvro).toSorted()).toEqual(subjects.map(({ topic }) => topic).toSorted())
    expect(everyVersion.length).toBeGreaterThan(subjects.length)
  })

  test.each(everyVersion)('$title: what it wrote is the same to the newest reader, resolved by Avro or as it was written', ({ subject, version }) => {
    const [writer, reader] = [typeOf(version.schema), typeOf(subject.newest)]
    const resolver = reader.createResolver(writer)
    const random = seeded(version.number)
    for (let i = 0; i < VALUES_PER_VERSION; i++) {
      const bytes = writer.toBuffer(randomValue(version.schema, random))
      const resolved: unknown = reader.fromBuffer(bytes, resolver)
      expect(reader.isValid(resolved)).toBe(true)
      expect(fromAvro[subject.topic]!(resolved)).toEqual(fromAvro[subject.topic]!(writer.fromBuffer(bytes)))
    }
  })
})

describe('a change that old records do not survive is found', () => {
  const roomEvents = subjects.find(({ topic }) => topic === 'room-events')!
  const changed = (change: (schema: AvroSchema) => void) => {
    const newest = structuredClone(roomEvents.newest) as AvroSchema
    change(newest)
    return problemsOf({ ...roomEvents, newest }).join('\n')
  }
  const entryTypes = (schema: AvroSchema): AvroSchema[] => schema['fields'][0].type[1].fields.find((f: AvroSchema) => f['name'] === 'entries').type.items
  const messageSent = (schema: AvroSchema) => entryTypes(schema).find(({ name }) => name === 'MessageSent')!
  const lastVersion = roomEvents.versions.length

  test('any change says how to add the next version', () => {
    const found = changed((schema) => messageSent(schema)['fields'].push({ name: 'more', type: ['null', 'string'], default: null }))
    expect(found).toContain(`cp schemas/room-events.avsc schemas/history/room-events-value/${lastVersion + 1}.avsc`)
    expect(found).not.toContain('cannot read')
  })

  test('a field without a default', () => {
    expect(changed((schema) => messageSent(schema)['fields'].push({ name: 'more', type: 'string' }))).toContain('cannot read what version 1 wrote')
  })

  test('another type of a field', () => {
    const change = (schema: AvroSchema) => {
      messageSent(schema)['fields'].find((f: AvroSchema) => f['name'] === 'messageIndex').type = 'string'
    }
    expect(changed(change)).toContain('cannot read what version 1 wrote')
  })

  test('a record type that is gone, though the last version alone had it', () => {
    const change = (schema: AvroSchema) => {
      entryTypes(schema).splice(entryTypes(schema).findIndex(({ name }) => name === 'RoomFrozen'), 1)
    }
    expect(changed(change)).toContain(`cannot read what version ${lastVersion} wrote`)
    expect(changed(change)).not.toContain('what version 1 wrote')
  })

  test('a version that is left out', () => {
    expect(problemsOf({ ...roomEvents, versions: roomEvents.versions.slice(1) }).join()).toContain('without a hole')
  })
})
