import { HOST } from './config.ts'
import type { RunningStack } from './local-stack.ts'
import { serviceInstances } from './service-env.ts'
import { openSampleOrder, printSample } from './sample.ts'

/** The last thing that `npm start` prints: where everything listens. */
export async function printWelcome(stack: RunningStack, { infraOnly, ownQueue }: { infraOnly: boolean; ownQueue: boolean }, print: (line: string) => void): Promise<void> {
  const { endpoints, ports } = stack
  const servers: [string, string][] = [
    ['Kafka', endpoints.kafkaBrokers.join(',')],
    ['schema registry', endpoints.schemaRegistryUrl],
    ['Postgres', endpoints.postgresUrl],
    ['Redis', endpoints.redisUrl],
    ['SQS', endpoints.sqsQueueUrl],
  ]
  const services: [string, string][] = [
    ...ports.edge.map((port, i): [string, string] => [`edge ${i + 1}`, `ws://${HOST}:${port}/chat`]),
    ['api', `http://${HOST}:${ports.api}`],
    ['metrics', `http://${HOST}:${ports.metrics}/metrics to :${ports.metrics + serviceInstances(ports).length - 1}`],
  ]
  print('')
  for (const [name, address] of infraOnly ? servers : [...services, ...servers]) print(`  ${name.padEnd(16)} ${address}`)
  print('')
  // A queue of one's own has orders of its own, and none of ours may get into it.
  if (!infraOnly && !ownQueue) printSample(await openSampleOrder(stack, new Date()), ports.edge[0], print)
}
