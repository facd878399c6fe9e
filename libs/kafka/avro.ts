import { readFile } from 'node:fs/promises'
import { COMPATIBILITY, SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import { ChatError } from '#libs/domain/errors.ts'
import { type TopicSpec, topics } from '#libs/streams/topics.ts'
import { type Env, envOptional, envSecret, envUrl } from '#libs/runtime/env.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { withRetry } from '#libs/runtime/retry.ts'
import type { KafkaClient } from './client.ts'

export type RegistryConfig = {
  readonly url: string
  readonly auth: { readonly username: string; readonly password: string } | undefined
}

export function registryConfigFromEnv(env: Env): RegistryConfig {
  const username = envOptional(env, 'SCHEMA_REGISTRY_USERNAME')
  return {
    url: envUrl(env, 'SCHEMA_REGISTRY_URL'),
    auth: username === undefined ? undefined : { username, password: envSecret(env, 'SCHEMA_REGISTRY_PASSWORD') ?? '' },
  }
}

type AvscType = { toBuffer(value: unknown): Buffer; fromBuffer(bytes: Buffer): unknown }

/** Confluent wire format: a zero byte, the schema's id (big-endian 32 bit), Avro binary. */
const WIRE_HEADER_BYTES = 5
const schemaDir = new URL('../../schemas/', import.meta.url)

/**
 * Encodes and decodes values of one topic. Unions are always wrapped in `{ 'orderchat.Branch': … }`, so that adding a
 * branch never changes how the others look.
 */
export type AvroCodec = {
  encode(value: unknown): Buffer
  /**
   * Decodes with the writer's schema; at once where that is known, else after asking the registry for it.
   * @throws ChatError `undecodable` for bytes or a schema that nobody can read; any other error may pass: try again
   */
  decode(bytes: Buffer): unknown
  /** Makes sure that `decode` of these bytes can answer at once. Undefined where it can already. */
  learn(bytes: Buffer): Promise<void> | undefined
}

export class AvroCodecs {
  readonly #registry: SchemaRegistry
  readonly #kafka: KafkaClient
  /** Shared by all topics: schema ids are unique in a registry. null: the registry does not know this id. */
  readonly #types = new Map<number, AvscType | null>()

  constructor(config: RegistryConfig, kafka: KafkaClient) {
    this.#kafka = kafka
    this.#registry = new SchemaRegistry(
      { host: config.url, clientId: 'order-chat', ...(config.auth && { auth: config.auth }), retry: { retries: 2, initialRetryTimeInSecs: 0.1, maxRetryTimeInSecs: 1 } },
      { [SchemaType.AVRO]: { wrapUnions: true } as never },
    )
  }

  /** Registers this version's schemas, compatibility BACKWARD_TRANSITIVE. Run by one process at a time (the set-up). */
  async registerAll(): Promise<void> {
    for (const spec of Object.values(topics)) {
      if (spec.schema === null) continue
      const schema = await readSchema(spec)
      await this.#registry.register(
        { type: SchemaType.AVRO, schema },
        { subject: this.#subject(spec), compatibility: COMPATIBILITY.BACKWARD_TRANSITIVE },
      )
    }
  }

  /** `forTopic`, tried again until the registry answers and the set-up has run there. */
  whenRegistered(spec: TopicSpec, signal: AbortSignal = new AbortController().signal): Promise<AvroCodec> {
    const { logger } = this.#kafka
    return withRetry(() => this.forTopic(spec), { clock: systemClock, signal, onFailure: (err, _, delayMs) => logger.warn({ err, delayMs, topic: spec.name }, 'no schemas yet') })
  }

  /** The codec of a topic. Asks the registry for the id of this version's schema, so the set-up must have run. */
  async forTopic(spec: TopicSpec): Promise<AvroCodec> {
    const schema = await readSchema(spec)
    const id = await this.#registry.getRegistryIdBySchema(this.#subject(spec), { type: SchemaType.AVRO, schema })
    await this.#learnId(id)
    const type = this.#types.get(id)!
    const header = Buffer.alloc(WIRE_HEADER_BYTES)
    header.writeUInt32BE(id, 1)
    return {
      encode: (value) => Buffer.concat([header, type.toBuffer(value)]),
      decode: (bytes) => this.#decode(bytes),
      learn: (bytes) => {
        const writerId = schemaIdOf(bytes)
        return writerId === undefined || this.#types.has(writerId) ? undefined : this.#learnId(writerId)
      },
    }
  }

  #subject(spec: TopicSpec): string {
    return `${this.#kafka.named(spec.name)}-value`
  }

  #decode(bytes: Buffer): unknown {
    const id = schemaIdOf(bytes)
    if (id === undefined) throw new ChatError('undecodable', 'not in the Confluent wire format')
    const type = this.#types.get(id)
    if (type === undefined) return this.#learnId(id).then(() => this.#decode(bytes))
    if (type === null) throw new ChatError('undecodable', `the registry has no schema ${id}`)
    try {
      return type.fromBuffer(bytes.subarray(WIRE_HEADER_BYTES))
    } catch (err) {
      throw new ChatError('undecodable', (err as Error).message, { cause: err })
    }
  }

  async #learnId(id: number): Promise<void> {
    try {
      this.#types.set(id, (await this.#registry.getSchema(id)) as unknown as AvscType)
    } catch (err) {
      if ((err as { status?: number }).status !== 404) throw err
      this.#types.set(id, null)
    }
  }
}

function schemaIdOf(bytes: Buffer): number | undefined {
  return bytes.length >= WIRE_HEADER_BYTES && bytes[0] === 0 ? bytes.readUInt32BE(1) : undefined
}

async function readSchema(spec: TopicSpec): Promise<string> {
  if (spec.schema === null) throw new Error(`topic ${spec.name} has no schema`)
  // Parsed and printed: the registry's copy must not depend on how the file is laid out.
  return JSON.stringify(JSON.parse(await readFile(new URL(spec.schema, schemaDir), 'utf8')))
}
