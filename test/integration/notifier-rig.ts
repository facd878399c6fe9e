import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { CreateQueueCommand, DeleteMessageBatchCommand, DeleteQueueCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs'
import { type JWK, jwtVerify } from 'jose'
import { Kafka, logLevel } from 'kafkajs'
import { Webhook } from 'standardwebhooks'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { AvroCodecs, registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { BatchingProducer } from '#libs/kafka/batching-producer.ts'
import { createKafkaClient, kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { userDecisionToAvro, userMarkerToAvro } from '#libs/streams/inbox-shapes.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import { headerNames, OWNERSHIP_MARKER, topics } from '#libs/streams/topics.ts'
import type { Payload } from '../../services/notifier/core/delivery.ts'
import { type Act, InboxWorld } from '../../services/notifier/core/test-support/inbox-world.ts'
import { sqsClient, type Stack } from '../support/stack.ts'
import type { System } from '../support/system.ts'
import { silent } from './api-fixture.ts'

export type Request = { readonly path: string; readonly headers: IncomingHttpHeaders; readonly body: Buffer; readonly atMs: number }

/** Keeps what it is sent, and answers with what it is told to. */
export class Receiver {
  readonly requests: Request[] = []
  /** By path; default 201. */
  readonly answers = new Map<string, (nr: number) => number>()
  readonly #server: Server
  #counts = new Map<string, number>()

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(tls?: { readonly key: string; readonly cert: string }): Promise<Receiver> {
    const server = tls ? createHttpsServer(tls) : createHttpServer()
    const receiver = new Receiver(server)
    server.on('request', (req, res) => {
      const chunks: Buffer[] = []
      req.on('data', (chunk: Buffer) => chunks.push(chunk))
      req.on('end', () => {
        receiver.requests.push({ path: req.url!, headers: req.headers, body: Buffer.concat(chunks), atMs: Date.now() })
        const nr = (receiver.#counts.get(req.url!) ?? 0) + 1
        receiver.#counts.set(req.url!, nr)
        res.writeHead(receiver.answers.get(req.url!)?.(nr) ?? 201).end()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return receiver
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }
}

/** What a receiver does by docs/notifications.md. @throws where the signature does not hold */
export function verifiedWebhook(request: Request, secret: string): Payload {
  const payload = new Webhook(secret).verify(request.body.toString(), request.headers as Record<string, string>) as Payload
  if (request.headers['webhook-id'] !== payload.dedupeId) throw new Error('webhook-id is not the dedupe id')
  return payload
}

/** What a push service checks: who sends it (VAPID), and that the body is encrypted (aes128gcm). */
export async function checkedPush({ headers, body }: Request, host: string, publicKey: string) {
  const [, token, key] = /^vapid t=([^,]+), ?k=(.+)$/.exec(headers.authorization ?? '') ?? []
  const point = Buffer.from(publicKey, 'base64url')
  const jwk: JWK = { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') }
  const { payload } = await jwtVerify(token!, jwk, { audience: `https://${host}`, algorithms: ['ES256'] })
  return {
    key,
    subject: payload.sub,
    encoding: headers['content-encoding'],
    ttl: headers['ttl'],
    topic: headers['topic'] as string,
    urgency: headers['urgency'],
    // Salt, record size, length of the sender's key, the key.
    recordSize: body.readUInt32BE(16),
    keyBytes: body[20],
    senderKey: body.subarray(21, 86),
  }
}

export class Queue {
  readonly url: string
  readonly #client: ReturnType<typeof sqsClient>
  readonly received: Payload[] = []

  private constructor(url: string, client: ReturnType<typeof sqsClient>) {
    this.url = url
    this.#client = client
  }

  static async create(stack: Stack): Promise<Queue> {
    const client = sqsClient(stack)
    const { QueueUrl = '' } = await client.send(new CreateQueueCommand({ QueueName: `push-${randomBytes(4).toString('hex')}` }))
    return new Queue(QueueUrl, client)
  }

  /** Takes what is there, and gives all that there ever was. */
  async drain(): Promise<readonly Payload[]> {
    for (;;) {
      const { Messages = [] } = await this.#client.send(new ReceiveMessageCommand({ QueueUrl: this.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 }))
      if (Messages.length === 0) return this.received
      this.received.push(...Messages.map(({ Body }) => JSON.parse(Body!) as Payload))
      await this.#client.send(new DeleteMessageBatchCommand({ QueueUrl: this.url, Entries: Messages.map(({ ReceiptHandle }, i) => ({ Id: String(i), ReceiptHandle })) }))
    }
  }

  async close(): Promise<void> {
    await this.#client.send(new DeleteQueueCommand({ QueueUrl: this.url })).finally(() => this.#client.destroy())
  }
}

/** Writes user-events as their owner does: a marker in each partition, then one record for each input. */
export async function startFeed({ stack, names }: System, partitions: number) {
  const env = { KAFKA_BROKERS: stack.kafkaBrokers.join(','), KAFKA_TOPIC_PREFIX: names.topicPrefix, KAFKA_PARTITIONS: String(partitions), SCHEMA_REGISTRY_URL: stack.schemaRegistryUrl }
  const kafka = createKafkaClient(kafkaConfigFromEnv(env), 'feed', silent)
  const codec = await new AvroCodecs(registryConfigFromEnv(env), kafka).whenRegistered(topics.userEvents)
  const producer = new BatchingProducer(kafka)
  const world = new InboxWorld()
  const epochs: bigint[] = []
  for (let partition = 0; partition < partitions; partition++) {
    const value = codec.encode(userMarkerToAvro('test', 'nonce'))
    epochs[partition] = (await producer.send(topics.userEvents.name, { key: null, partition, value, headers: { [headerNames.eventType]: OWNERSHIP_MARKER } })).offset
  }
  let inputs = 0
  return {
    world,
    async act(userId: string, roomId: string, act: Act, timestampMs = Date.now()): Promise<void> {
      const decision = world.act(userId as UserId, roomId as RoomId, act, timestampMs)
      if (!decision) return
      const epoch = epochs[partitionOf(userId, partitions)]!
      const headers = { [headerNames.ownerEpoch]: epoch.toString(), [headerNames.source]: `inbox-updates:${inputs++}`, [headerNames.eventType]: 'chatChanged' }
      await producer.send(topics.userEvents.name, { key: userId, value: codec.encode(userDecisionToAvro(decision)), headers })
    },
    close: () => producer.close(),
  }
}

export type Letter = { readonly payload: Payload; readonly headers: Readonly<Record<string, string>> }

/** Follows notifications.dlq from its start. */
export async function followDeadLetters({ stack, names }: System) {
  const topic = `${names.topicPrefix}${topics.notificationsDlq.name}`
  const consumer = new Kafka({ clientId: 'dead-letters', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING }).consumer({ groupId: `${topic}-test`, maxWaitTimeInMs: 100 })
  const letters: Letter[] = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ message }) => {
      const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)])
      letters.push({ payload: JSON.parse(message.value!.toString()) as Payload, headers: Object.fromEntries(headers) })
    },
  })
  return { letters, close: () => consumer.disconnect() }
}

// A certificate for 127.0.0.1, signed by itself: web push goes over TLS only.

const der = (tag: number, ...parts: readonly (Buffer | readonly number[])[]): Buffer => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  const { length } = body
  const head = length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(head), body])
}
const [INT, BITS, OCTETS, OID, UTF8, UTC, SEQ, SET] = [0x02, 0x03, 0x04, 0x06, 0x0c, 0x17, 0x30, 0x31]
const ECDSA_SHA256 = der(SEQ, der(OID, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]))
const COMMON_NAME = [0x55, 0x04, 0x03]
const ALT_NAME = [0x55, 0x1d, 0x11]
const BASIC_CONSTRAINTS = [0x55, 0x1d, 0x13]

export function selfSigned(): { readonly key: string; readonly cert: string; readonly certFile: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = der(SEQ, der(SET, der(SEQ, der(OID, COMMON_NAME), der(UTF8, Buffer.from('push.test')))))
  const extensions = der(
    SEQ,
    der(SEQ, der(OID, ALT_NAME), der(OCTETS, der(SEQ, der(0x87, [127, 0, 0, 1])))),
    der(SEQ, der(OID, BASIC_CONSTRAINTS), der(OCTETS, der(SEQ, [0x01, 0x01, 0xff]))),
  )
  const validity = der(SEQ, der(UTC, Buffer.from('200101000000Z')), der(UTC, Buffer.from('490101000000Z')))
  const serial = Buffer.concat([Buffer.from([1]), createHash('sha256').update(randomBytes(8)).digest().subarray(0, 8)])
  const body = der(SEQ, der(0xa0, der(INT, [2])), der(INT, serial), ECDSA_SHA256, name, validity, name, publicKey.export({ type: 'spki', format: 'der' }), der(0xa3, extensions))
  const signed = der(SEQ, body, ECDSA_SHA256, der(BITS, [0], sign('sha256', body, privateKey)))
  const cert = `-----BEGIN CERTIFICATE-----\n${signed.toString('base64').replaceAll(/(.{64})/g, '$1\n')}\n-----END CERTIFICATE-----\n`
  const certFile = path.join(mkdtempSync(path.join(tmpdir(), 'order-chat-push-')), 'cert.pem')
  writeFileSync(certFile, cert)
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, cert, certFile }
}
