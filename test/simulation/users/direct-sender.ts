import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { commandToAvro } from '#libs/streams/avro-shapes.ts'
import { headerNames, topics } from '#libs/streams/topics.ts'
import type { Kafka } from '../world/kafka.ts'
import type { Process } from '../world/process.ts'
import { SimProducer } from '../world/producer.ts'
import type { Registry, SimCodec } from '../world/registry.ts'

type Message = { readonly roomId: RoomId; readonly senderId: UserId; readonly clientMessageId: ClientMessageId }

/** An edge without sockets: commands straight into the log, some of them again, some of them garbage. */
export class DirectSender {
  readonly #process: Process
  readonly #kafka: Kafka
  readonly #producer: SimProducer
  readonly #codec: SimCodec
  readonly #sent: Message[] = []
  #ids = 0

  constructor(process: Process, kafka: Kafka, registry: Registry) {
    this.#process = process
    this.#kafka = kafka
    this.#producer = new SimProducer(process, kafka)
    this.#codec = registry.codec(process, topics.chatCommands, new Set())
  }

  send(roomId: RoomId, senderId: UserId): void {
    const time = this.#process.world.nowMs.toString(16).padStart(12, '0')
    const clientMessageId = `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${(this.#ids++).toString(16).padStart(12, '0')}` as ClientMessageId
    const message = { roomId, senderId, clientMessageId }
    this.#sent.push(message)
    this.#publish(message)
  }

  resend(): void {
    if (this.#sent.length > 0) this.#publish(this.#process.world.random.pick(this.#sent))
  }

  garbage(roomId: RoomId): void {
    this.#append({ key: roomId, value: Buffer.from('garbage'), headers: { [headerNames.commandId]: `direct-${this.#ids++}` } })
  }

  #publish(message: Message): void {
    const commandId = `direct-${this.#ids++}`
    const value = this.#codec.encode(commandToAvro({ type: 'sendMessage', commandId, content: commandId, salt: 's', ...message }))
    this.#append({ key: message.roomId, value, headers: { [headerNames.replyTo]: 'nobody', [headerNames.commandId]: commandId } })
  }

  #append(record: Parameters<SimProducer['send']>[1]): void {
    this.#producer.send(topics.chatCommands.name, record).catch(() => {})
  }

  /** How many commands there are. */
  get count(): number {
    return Array.from({ length: this.#kafka.partitions }, (_, p) => this.#kafka.log(topics.chatCommands.name, p).high).reduce((a, b) => a + b, 0)
  }
}
