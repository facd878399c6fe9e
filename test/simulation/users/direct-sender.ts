import { type ClientMessageId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand, RoomCommandBody } from '#libs/domain/inputs.ts'
import { commandToAvro } from '#libs/streams/avro-shapes.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { Kafka } from '../world/kafka.ts'
import type { Process } from '../world/process.ts'
import { SimProducer } from '../world/producer.ts'
import type { Registry, SimCodec } from '../world/registry.ts'
import { anyChange, type Conversation, type Known } from './commands.ts'

/** An edge without sockets: commands straight into the log, some of them again, some of them garbage. */
export class DirectSender {
  readonly #process: Process
  readonly #kafka: Kafka
  readonly #producer: SimProducer
  readonly #codec: SimCodec
  readonly #asked: Omit<RoomCommand, 'commandId'>[] = []
  readonly #sent: Known[] = []
  #ids = 0

  constructor(process: Process, kafka: Kafka, registry: Registry) {
    this.#process = process
    this.#kafka = kafka
    this.#producer = new SimProducer(process, kafka)
    this.#codec = registry.codec(process, topics.chatCommands, new Set())
  }

  send(roomId: RoomId, senderId: UserId): void {
    const { clientMessageId } = this.#ask(roomId, senderId, { type: 'sendMessage', content: `direct ${this.#ids}`, salt: 's' })
    this.#sent.push({ roomId, senderId, clientMessageId })
  }

  /** Mostly by who may: the sender of a message, the owner of a group. */
  change(roomId: RoomId, people: readonly UserId[], creatorId: UserId | undefined): void {
    const { random } = this.#process.world
    const body = anyChange(random, roomId, people, this.#sent)
    const target = 'messageId' in body ? this.#sent.find((m) => messageIdOf(m.roomId, m.senderId, m.clientMessageId) === body.messageId) : undefined
    const senderId = target && random.chance(0.7) ? target.senderId : creatorId !== undefined && random.chance(0.4) ? creatorId : random.pick(people)
    this.#ask(roomId, senderId, body)
  }

  create({ roomId, creatorId, create }: Conversation): void {
    this.#ask(roomId, creatorId, create)
  }

  block(roomId: RoomId, blockerId: UserId, blockedId: UserId): void {
    this.#ask(roomId, blockerId, { type: 'setBlock', blockerId, blockedId, on: this.#process.world.random.chance(0.5) })
  }

  resend(): void {
    if (this.#asked.length > 0) this.#publish(this.#process.world.random.pick(this.#asked))
  }

  #ask(roomId: RoomId, senderId: UserId, body: RoomCommandBody): { readonly clientMessageId: ClientMessageId } {
    const time = this.#process.world.nowMs.toString(16).padStart(12, '0')
    const clientMessageId = `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${(this.#ids++).toString(16).padStart(12, '0')}` as ClientMessageId
    const asked = { roomId, senderId, clientMessageId, ...body }
    this.#asked.push(asked)
    this.#publish(asked)
    return asked
  }

  garbage(roomId: RoomId): void {
    this.#append({ key: roomId, value: Buffer.from('garbage'), headers: { [headerNames.commandId]: `direct-${this.#ids++}` } })
  }

  #publish(asked: Omit<RoomCommand, 'commandId'>): void {
    const commandId = `direct-${this.#ids++}`
    const value = this.#codec.encode(commandToAvro({ ...asked, commandId } as RoomCommand))
    this.#append({ key: asked.roomId, value, headers: { [headerNames.replyTo]: 'nobody', [headerNames.commandId]: commandId } })
  }

  #append(record: Parameters<SimProducer['send']>[1]): void {
    this.#producer.send(topics.chatCommands.name, record).catch(() => {})
  }

  /** How many commands there are. */
  get count(): number {
    return Array.from({ length: this.#kafka.partitions }, (_, p) => this.#kafka.log(topics.chatCommands.name, p).high).reduce((a, b) => a + b, 0)
  }
}
