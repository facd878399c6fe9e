import { COMPATIBILITY, SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AvroCodecs } from '#libs/kafka/avro.ts'
import { createKafkaClient, kafkaConfigFromEnv, type KafkaClient } from '#libs/kafka/client.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { topics } from '#libs/streams/topics.ts'
import { type Isolated, type Stack, useStack } from '../support/stack.ts'
import { type AvroSchema, randomValue, readSubjects, seeded, type Subject, typeOf } from './schema-history.ts'

const subjects = readSubjects()
const spec = (topic: string) => Object.values(topics).find(({ name }) => name === topic)!

let stack: Stack
let names: Isolated
let kafka: KafkaClient
let registry: SchemaRegistry
const register = (subject: Subject, schema: AvroSchema) =>
  registry.register({ type: SchemaType.AVRO, schema: JSON.stringify(schema) }, { subject: `${names.topicPrefix}${subject.name}`, compatibility: COMPATIBILITY.BACKWARD_TRANSITIVE })

beforeAll(async () => {
  stack = await useStack()
  names = await stack.isolate('schema-registry')
  registry = new SchemaRegistry({ host: stack.schemaRegistryUrl })
  kafka = createKafkaClient(kafkaConfigFromEnv({ KAFKA_BROKERS: stack.kafkaBrokers.join(','), KAFKA_TOPIC_PREFIX: names.topicPrefix }), 'schema-registry', createLogger('test', 'test', 'silent'))
})
afterAll(() => names?.cleanup())

/** A registry that has grown with the project: every version, one after the other, then this version's set-up. */
describe('a registry that holds every version', () => {
  const ids = new Map<string, number>()
  const codecs = () => new AvroCodecs({ url: stack.schemaRegistryUrl, auth: undefined }, kafka)

  test('takes each after the other, and then the set-up of this version', async () => {
    for (const subject of subjects) {
      for (const { file, schema } of subject.versions) ids.set(file, (await register(subject, schema)).id)
    }
    await codecs().registerAll()
    for (const subject of subjects) {
      const latest = await registry.getLatestSchemaId(`${names.topicPrefix}${subject.name}`)
      expect(latest).toBe(ids.get(subject.versions.at(-1)!.file))
    }
  })

  test('gives this version what it needs to read a record of any version', async () => {
    for (const subject of subjects) {
      const codec = await codecs().forTopic(spec(subject.topic))
      for (const { file, number, schema } of subject.versions) {
        const body = typeOf(schema).toBuffer(randomValue(schema, seeded(number)))
        const header = Buffer.alloc(5)
        header.writeUInt32BE(ids.get(file)!, 1)
        const bytes = Buffer.concat([header, body])
        await codec.learn(bytes)
        expect(codec.decode(bytes)).toEqual(typeOf(schema).fromBuffer(body))
      }
    }
  })

  test.each(subjects)('$name: refuses what could not read the records of before', async (subject) => {
    const before = await registry.getLatestSchemaId(`${names.topicPrefix}${subject.name}`)
    const incompatible = structuredClone(subject.newest) as AvroSchema
    incompatible['fields'].push({ name: 'neededFromNowOn', type: 'string' })
    await expect(register(subject, incompatible)).rejects.toThrow(/[Ii]ncompatible|conflict|compatib/)
    expect(await registry.getLatestSchemaId(`${names.topicPrefix}${subject.name}`)).toBe(before)
  })

  test('refuses to lose a record type that only the first version needs', async () => {
    const roomEvents = subjects.find(({ topic }) => topic === 'room-events')!
    const incompatible = structuredClone(roomEvents.newest) as AvroSchema
    const entries = incompatible['fields'][0].type[1].fields.find((f: AvroSchema) => f['name'] === 'entries').type
    entries.items = entries.items.filter(({ name }: { name: string }) => name !== 'RoomClosed')
    await expect(register(roomEvents, incompatible)).rejects.toThrow(/[Ii]ncompatible|conflict|compatib/)
  })

  test('takes a field with a default', async () => {
    const presence = subjects.find(({ topic }) => topic === 'presence-events')!
    const compatible = structuredClone(presence.newest) as AvroSchema
    compatible['fields'].push({ name: 'device', type: ['null', 'string'], default: null })
    await expect(register(presence, compatible)).resolves.toHaveProperty('id')
  })
})
