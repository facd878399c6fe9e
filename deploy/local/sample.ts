import { signDevToken } from '#libs/auth/dev-key.ts'
import { HOST, type StackEndpoints } from './config.ts'
import { publishOrderEvent } from './order.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from './service-env.ts'

const DAY_S = 24 * 3_600

export type Sample = {
  readonly orderId: string
  /** Ready-made tokens, good for a day. */
  readonly tokens: Readonly<Record<'customer' | 'vendor' | 'rider' | 'admin', string>>
}

/** Opens the room of an order of its own for each start, so that there is always one that is not closed yet. */
export async function openSampleOrder(stack: { readonly endpoints: StackEndpoints; readonly devKeyFile: string }, now: Date): Promise<Sample> {
  const orderId = `sample-${now.toISOString().slice(0, 19).replaceAll(/[^0-9]/g, '')}`
  const options = { queueUrl: stack.endpoints.sqsQueueUrl, endpoint: stack.endpoints.sqsEndpoint }
  await publishOrderEvent({ type: 'order.accepted', payload: { orderId, customerId: 'customer-1', vendorId: 'vendor-1' } }, options)
  await publishOrderEvent({ type: 'order.rider_assigned', payload: { orderId, riderId: 'rider-1' } }, options)
  const token = (userId: string, role = 'user') =>
    signDevToken({ file: stack.devKeyFile, issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, userId, role, ttlS: DAY_S })
  const [customer, vendor, rider, admin] = await Promise.all([token('customer-1'), token('vendor-1'), token('rider-1'), token('admin-1', 'admin')])
  return { orderId, tokens: { customer, vendor, rider, admin } }
}

export function printSample({ orderId, tokens }: Sample, edgePort: number, print: (line: string) => void): void {
  print(`  sample order     ${orderId} (customer-1, vendor-1, rider-1; admin-1 may read it)`)
  print('')
  for (const [who, token] of Object.entries(tokens)) print(`  ${who} token\n${token}\n`)
  print('  Talk in it from two terminals, as customer-1 and as vendor-1:')
  print(`    npm run chat -- --order ${orderId} --user customer-1`)
  print(`    npm run chat -- --order ${orderId} --user vendor-1 --edge 2`)
  print(`  or with any WebSocket client: ws://${HOST}:${edgePort}/chat?orderId=${orderId}, header "Authorization: Bearer <token>"`)
  print('')
}
