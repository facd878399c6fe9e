import { EventEmitter } from 'node:events'
import type { Consumer } from 'kafkajs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { KafkaClient } from './client.ts'
import { PositionedConsumer } from './positioned-consumer.ts'

/** A consumer that behaves like kafkajs' where it matters here: without a group it takes no pause, seek or resume. */
class FakeConsumer {
  readonly events = { GROUP_JOIN: 'join', STOP: 'stop', CRASH: 'crash', REQUEST: 'request', HEARTBEAT: 'heartbeat', START_BATCH_PROCESS: 'batch' }
  readonly calls: string[] = []
  readonly #emitter = new EventEmitter()
  #hasGroup = false

  on(event: string, listener: (event: object) => void): void {
    this.#emitter.on(event, listener)
  }

  async connect(): Promise<void> {}
  async subscribe(): Promise<void> {}
  async run(): Promise<void> {}

  join(): void {
    this.#hasGroup = true
    this.#emitter.emit('join', { payload: { memberAssignment: { 'room-events': [0, 1] } } })
  }

  crash(): void {
    this.#hasGroup = false
    this.#emitter.emit('stop', {})
    this.#emitter.emit('crash', { payload: { restart: true, error: new Error('connection closed') } })
  }

  pause([{ partitions }]: [{ partitions: number[] }]): void {
    this.#note(`pause ${partitions}`)
  }

  seek({ partition, offset }: { partition: number; offset: string }): void {
    this.#note(`seek ${partition} to ${offset}`)
  }

  resume([{ partitions }]: [{ partitions: number[] }]): void {
    this.#note(`resume ${partitions}`)
  }

  #note(call: string): void {
    if (!this.#hasGroup) throw new Error('Consumer group was not initialized, consumer#run must be called first')
    this.calls.push(call)
  }
}

test('while kafkajs restarts after a crash, partitions are opened, held and closed all the same, and it shows after the join', async () => {
  const fake = new FakeConsumer()
  const kafka = { kafkajs: { consumer: () => fake as unknown as Consumer }, config: {}, logger: pino({ level: 'silent' }), named: (name: string) => name } as unknown as KafkaClient
  const failures: Error[] = []
  const consumer = new PositionedConsumer(kafka, { topics: ['room-events'], onFailed: (err) => failures.push(err) })
  await consumer.start()
  fake.join()
  consumer.open('room-events', 0, 5n, () => {})
  fake.crash()
  consumer.closePartition('room-events', 0)
  consumer.open('room-events', 1, 7n, () => {})
  consumer.hold('room-events', 1, 'full', true)
  consumer.hold('room-events', 1, 'full', false)
  fake.calls.length = 0
  fake.join()
  expect(fake.calls).toEqual(['pause 0,1', 'seek 1 to 7', 'resume 1'])
  expect(failures).toEqual([])
})
