import { HOST } from './config.ts'
import type { RunningStack } from './local-stack.ts'

/** The last thing that `npm start` prints: where everything listens. */
export async function printWelcome(stack: RunningStack, { infraOnly }: { infraOnly: boolean }, print: (line: string) => void): Promise<void> {
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
    ['metrics', `http://${HOST}:${ports.metrics}/metrics and the five ports above it`],
  ]
  print('')
  for (const [name, address] of infraOnly ? servers : [...services, ...servers]) print(`  ${name.padEnd(16)} ${address}`)
  print('')
}
