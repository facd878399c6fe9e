import { setTimeout as pause } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import type { ServerName } from '../../support/stack.ts'
import type { FaultContext } from '../harness/round.ts'
import { until } from '../harness/round.ts'
import type { World } from '../harness/world.ts'

const BROKERS = [1, 2, 3] as const

/** A broker is killed and comes back, or is restarted in order, or leaders move from it while it lives. */
export async function brokers({ world, random, say, times }: FaultContext): Promise<void> {
  for (let i = 0; i < times; i++) {
    const id = BROKERS[Math.floor(random() * BROKERS.length)]!
    const name: ServerName = `kafka-${id}`
    if (i % 3 === 0) {
      const ms = 500 + random() * 8_000
      say(`${name} is killed, and back after ${(ms / 1_000).toFixed(1)} s`)
      await world.stack.control.kill(name)
      await pause(ms)
      await world.stack.control.start(name)
    } else if (i % 3 === 1) {
      say(`leaders leave ${name}, and it gets its copies back`)
      await moveLeaders(world, id)
    } else {
      say(`${name} is restarted`)
      await world.stack.control.restartBroker(id)
    }
    await pause(3_000 + random() * 2_000)
  }
}

/** Takes the broker's copies of our topics away, so that another has to lead, and gives them back behind the others. */
async function moveLeaders({ stack, system }: World, broker: number): Promise<void> {
  const admin = new Kafka({ clientId: 'leader-moves', brokers: stack.kafkaBrokers, logLevel: logLevel.NOTHING, retry: { retries: 20 } }).admin()
  await admin.connect()
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(system.names.topicPrefix) || topic === '__consumer_offsets')
    const { topics: metadata } = await admin.fetchTopicMetadata({ topics })
    const others = BROKERS.filter((id) => id !== broker)
    for (const replicas of [(p: number) => turned(others, p), (p: number) => [...turned(others, p), broker]]) {
      await admin.alterPartitionReassignments({
        topics: metadata.map(({ name, partitions }) => ({ topic: name, partitionAssignment: partitions.map(({ partitionId }) => ({ partition: partitionId, replicas: replicas(partitionId) })) })),
      })
      await until(60_000, async () => (await admin.listPartitionReassignments({})).topics.length === 0)
    }
  } finally {
    await admin.disconnect()
  }
}

const turned = (ids: readonly number[], by: number): number[] => [...ids.slice(by % ids.length), ...ids.slice(0, by % ids.length)]
