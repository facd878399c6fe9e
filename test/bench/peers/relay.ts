// The middle of the raw two hops: everything that comes in one topic goes out in another, in the same partition.
import { createServer } from 'node:http'
import { consumeAll } from '../generator/kafka-links.ts'
import { bareKafka, NaturalProducer } from '../generator/natural-producer.ts'

const { KAFKA_BROKERS = '', FROM = '', TO = '', PORT } = process.env

const fail = (err: Error) => {
  console.error(err)
  process.exit(1)
}
const kafka = bareKafka(KAFKA_BROKERS.split(','), 'bench-relay')
const producer = new NaturalProducer(kafka, TO, () => {}, fail)
await producer.connect()
await consumeAll(kafka, FROM, (value, key, partition) => producer.push({ key, value, partition }))
createServer((_, res) => res.end('ok')).listen(Number(PORT), '127.0.0.1')
