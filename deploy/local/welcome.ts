import { endpointsOf, type StackConfig } from './config.ts'

/** Where the servers listen. */
export function printEndpoints(config: StackConfig, print: (line: string) => void): void {
  const at = endpointsOf(config)
  const rows = [
    ['Kafka', at.kafkaBrokers.join(',')],
    ['schema registry', at.schemaRegistryUrl],
    ['Postgres', at.postgresUrl],
    ['Redis', at.redisUrl],
    ['SQS', at.sqsQueueUrl],
  ]
  print('')
  for (const [name = '', address = ''] of rows) print(`  ${name.padEnd(16)} ${address}`)
  print('')
}
