import { connect } from 'node:net'
import { type ISocketFactory, Kafka, logLevel, type Message, type Producer } from 'kafkajs'

/** kafkajs as the fastest that we know how to set it, with nothing of ours in it. */
export function bareKafka(brokers: readonly string[], clientId: string): Kafka {
  return new Kafka({ clientId, brokers: [...brokers], logLevel: logLevel.ERROR, socketFactory: noDelay })
}

/** kafkajs leaves Nagle's algorithm on. */
const noDelay: ISocketFactory = ({ host, port, onConnect }) => connect({ host, port }, onConnect).setNoDelay(true)

/** One batch in flight; what comes meanwhile makes up the next. */
export class NaturalProducer {
  readonly #producer: Producer
  readonly #topic: string
  readonly #onSent: (messages: readonly Message[]) => void
  readonly #onFailed: (err: Error) => void
  #waiting: Message[] = []
  #pumping: Promise<void> | undefined

  constructor(kafka: Kafka, topic: string, onSent: (messages: readonly Message[]) => void, onFailed: (err: Error) => void) {
    this.#producer = kafka.producer({ maxInFlightRequests: 1, allowAutoTopicCreation: false, retry: { retries: 0 }, createPartitioner: () => ({ message }) => message.partition ?? 0 })
    this.#topic = topic
    this.#onSent = onSent
    this.#onFailed = onFailed
  }

  connect(): Promise<void> {
    return this.#producer.connect()
  }

  /** Every message must carry its partition. */
  push(message: Message): void {
    this.#waiting.push(message)
    this.#pumping ??= this.#pump()
  }

  async close(): Promise<void> {
    await this.#pumping
    await this.#producer.disconnect()
  }

  async #pump(): Promise<void> {
    // Lets everything of this turn of the event loop into the first batch.
    await new Promise(setImmediate)
    while (this.#waiting.length > 0) {
      const messages = this.#waiting
      this.#waiting = []
      try {
        await this.#producer.send({ topic: this.#topic, acks: -1, messages })
        this.#onSent(messages)
      } catch (err) {
        this.#onFailed(err as Error)
      }
    }
    this.#pumping = undefined
  }
}
