import { pickFreePorts } from '../../../deploy/local/ports.ts'
import type { LocalProcess } from '../../../deploy/local/process.ts'
import { PARTITIONS } from '../../../deploy/local/service-env.ts'
import type { KafkaTarget } from '../generator/messages.ts'
import { bareKafka } from '../generator/natural-producer.ts'
import type { World } from '../world.ts'
import type { System } from './system.ts'

const TOPICS = { first: 'bench-raw-1', second: 'bench-raw-2' } as const

/** kafkajs → topic → relay → topic → kafkajs: the floor for two durable hops through Kafka. The generators are its ends. */
export function rawTwoHops(world: World): System {
  const brokers = world.endpoints.kafkaBrokers
  let relay: LocalProcess | undefined
  let made = false
  const ends = (count: number, prefix: string, target: Omit<KafkaTarget, 'brokers' | 'partitions'>) => ({
    protocol: 'kafka' as const,
    links: Array.from({ length: count }, (_, i) => ({ roomId: `${prefix}-${i}`, userId: '', url: '', token: '' })),
    kafka: { brokers, partitions: PARTITIONS, ...target },
  })
  return {
    name: 'raw two hops',
    async start() {
      if (!made) await createTopics(brokers)
      made = true
      const [port = 0] = await pickFreePorts(1)
      relay = await world.startPeer('relay', 'relay.ts', port, { KAFKA_BROKERS: brokers.join(','), FROM: TOPICS.first, TO: TOPICS.second })
    },
    async stop() {
      await relay?.stop()
    },
    async openRooms(count, prefix) {
      return {
        senders: ends(count, prefix, { topic: TOPICS.first, role: 'produce' }),
        receivers: ends(count, prefix, { topic: TOPICS.second, role: 'consume' }),
      }
    },
    pids: () => new Map([['relay', relay!.pid!], ...world.pids('kafka')]),
  }
}

async function createTopics(brokers: readonly string[]): Promise<void> {
  const admin = bareKafka(brokers, 'bench-admin').admin()
  await admin.connect()
  await admin.createTopics({ topics: Object.values(TOPICS).map((topic) => ({ topic, numPartitions: PARTITIONS, replicationFactor: 1 })) })
  await admin.disconnect()
}
