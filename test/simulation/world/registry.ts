import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { ChatError } from '#libs/domain/errors.ts'
import { type TopicSpec, topics } from '#libs/streams/topics.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

export type SimCodec = { encode(value: unknown): Buffer; decode(bytes: Buffer): unknown; learn(bytes: Buffer): Promise<void> | undefined }

const HEADER_BYTES = 5
const schemaDir = new URL('../../../schemas/', import.meta.url)
const withSchema = Object.values(topics).filter((spec): spec is typeof spec & { schema: string } => spec.schema !== null)
const types = withSchema.map(({ schema }) => avro.Type.forSchema(JSON.parse(readFileSync(new URL(schema, schemaDir), 'utf8')), { wrapUnions: true }))
const idOf = (spec: TopicSpec): number => withSchema.findIndex(({ name }) => name === spec.name)

/** For the checkers, which know every schema. */
export function decodeValue(bytes: Buffer): unknown {
  return types[bytes.readUInt32BE(1)]!.fromBuffer(bytes.subarray(HEADER_BYTES))
}

/** The schema registry: each process has to ask it once for each schema. */
export class Registry {
  downUntilMs = 0
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  codec(process: Process, spec: TopicSpec, known: Set<number>): SimCodec {
    const id = idOf(spec)
    const header = Buffer.alloc(HEADER_BYTES)
    header.writeUInt32BE(id, 1)
    const learn = async (writerId: number): Promise<void> => {
      await process.call(`schema ${writerId}`, () => {
        if (this.#world.nowMs < this.downUntilMs) throw new Error('the registry is down')
      })
      known.add(writerId)
    }
    const decode = (bytes: Buffer): unknown => {
      if (bytes.length < HEADER_BYTES || bytes[0] !== 0) throw new ChatError('undecodable', 'not in the Confluent wire format')
      const writerId = bytes.readUInt32BE(1)
      if (!known.has(writerId)) return learn(writerId).then(() => decode(bytes))
      try {
        return decodeValue(bytes)
      } catch (err) {
        throw new ChatError('undecodable', (err as Error).message)
      }
    }
    return {
      encode: (value) => Buffer.concat([header, types[id]!.toBuffer(value)]),
      decode,
      learn: (bytes) => (known.has(bytes.readUInt32BE(1)) ? undefined : learn(bytes.readUInt32BE(1))),
    }
  }
}
