import { type ClientMessageId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand, RoomCommandBody } from '#libs/domain/inputs.ts'
import type { RoomEvent } from '#libs/domain/room.ts'
import { FOREVER_MS, type InboxCommand } from '#libs/domain/inbox.ts'
import { commandToAvro } from '#libs/streams/avro-shapes.ts'
import { inboxCommandRecord } from '#libs/streams/command-record.ts'
import type { OutRecord } from '#libs/streams/record.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { Kafka } from '../world/kafka.ts'
import type { Process } from '../world/process.ts'
import { SimProducer } from '../world/producer.ts'
import type { Registry, SimCodec } from '../world/registry.ts'
import { anyChange, anyModeration, anyWordOfDispute, type Conversation, type Known, MODERATORS } from './commands.ts'

/** An edge without sockets: commands straight into the log, some of them again, some of them garbage. */
export class DirectSender {
  readonly #process: Process
  readonly #kafka: Kafka
  readonly #producer: SimProducer
  readonly #codec: SimCodec
  readonly #inboxCodec: SimCodec
  readonly #asked: Omit<RoomCommand, 'commandId'>[] = []
  readonly #sent: Known[] = []
  #ids = 0

  constructor(process: Process, kafka: Kafka, registry: Registry) {
    this.#process = process
    this.#kafka = kafka
    this.#producer = new SimProducer(process, kafka)
    this.#codec = registry.codec(process, topics.chatCommands, new Set())
    this.#inboxCodec = registry.codec(process, topics.inboxCommands, new Set())
  }

  send(roomId: RoomId, senderId: UserId, people: readonly UserId[]): void {
    const { random } = this.#process.world
    const content = random.chance(0.2) ? 'again' : `direct ${this.#ids}`
    const { clientMessageId } = this.#ask(roomId, senderId, { type: 'sendMessage', content, salt: 's', ...(random.chance(0.15) && { mentions: [random.pick(people)] }) })
    this.#sent.push({ roomId, senderId, clientMessageId })
  }

  /** Mostly by who may: the sender of a message, the owner of a group. */
  change(roomId: RoomId, people: readonly UserId[], conversation: Conversation | undefined): void {
    const { random } = this.#process.world
    const creatorId = conversation?.creatorId
    const body = conversation?.kind === 'dispute' && random.chance(0.3) ? anyWordOfDispute(random, people) : anyChange(random, roomId, people, this.#sent)
    const target = 'messageId' in body ? this.#sent.find((m) => messageIdOf(m.roomId, m.senderId, m.clientMessageId) === body.messageId) : undefined
    const senderId = target && random.chance(0.7) ? target.senderId : creatorId !== undefined && random.chance(0.4) ? creatorId : random.pick(people)
    this.#ask(roomId, senderId, body)
  }

  /** By the api, which has verified who asks. */
  moderate(roomId: RoomId, events: readonly RoomEvent[], people: readonly UserId[]): void {
    const { random } = this.#process.world
    const body = anyModeration(random, events, people)
    this.#ask(roomId, random.pick(MODERATORS) as UserId, body)
  }

  /** The owner of a group lets somebody in, gives him another role, or takes him out. */
  comeAndGo({ roomId, creatorId }: Conversation, userId: UserId): void {
    const { random } = this.#process.world
    this.#ask(roomId, creatorId, random.chance(0.75) ? { type: 'addParticipant', userId, role: random.pick(['member', 'observer', 'owner']) } : { type: 'removeParticipant', userId })
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

  /** Of somebody's own list; now and then garbage. */
  setChat(userId: UserId, roomId: RoomId): void {
    const { random, nowMs } = this.#process.world
    const commandId = `direct-${this.#ids++}`
    const mutedUntilMs = random.pick([0, nowMs + 3_000, FOREVER_MS])
    const command: InboxCommand = { userId, commandId, type: 'setChat', roomId, ...(random.chance(0.6) && { mutedUntilMs }), ...(random.chance(0.7) && { archived: random.chance(0.7) }) }
    const record = inboxCommandRecord(this.#inboxCodec, command, { traceparent: '', replyTo: 'nobody' })
    this.#append(random.chance(0.05) ? { ...record, value: Buffer.from('garbage') } : record, topics.inboxCommands.name)
  }

  #publish(asked: Omit<RoomCommand, 'commandId'>): void {
    const commandId = `direct-${this.#ids++}`
    const value = this.#codec.encode(commandToAvro({ ...asked, commandId } as RoomCommand))
    this.#append({ key: asked.roomId, value, headers: { [headerNames.replyTo]: 'nobody', [headerNames.commandId]: commandId } })
  }

  #append(record: OutRecord, topic: string = topics.chatCommands.name): void {
    this.#producer.send(topic, record).catch(() => {})
  }

  /** How many commands there are. */
  get count(): number {
    return Array.from({ length: this.#kafka.partitions }, (_, p) => this.#kafka.log(topics.chatCommands.name, p).high).reduce((a, b) => a + b, 0)
  }
}
