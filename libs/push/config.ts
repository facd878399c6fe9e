import { ChatError } from '#libs/domain/errors.ts'
import { type Env, envList, envOptional, envSecret, envText } from '#libs/runtime/env.ts'
import { knownPushHosts } from './endpoints.ts'
import { vapidProblem } from './web-push.ts'

/** Where a browser's subscription may lead. */
export function pushHostsFromEnv(env: Env): readonly string[] {
  const hosts = envList(env, 'PUSH_HOSTS', knownPushHosts)
  const bad = hosts.find((host) => !/^(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?$/.test(host))
  if (bad !== undefined) throw new ChatError('config_invalid', `PUSH_HOSTS has "${bad}", which is no host`)
  return hosts
}

/** What browsers need to subscribe; undefined: there is no Web Push. */
export const vapidPublicKeyFromEnv = (env: Env): string | undefined => envOptional(env, 'VAPID_PUBLIC_KEY')

export type Vapid = { readonly subject: string; readonly publicKey: string; readonly privateKey: string }

/** The whole pair; undefined: there is no Web Push. */
export function vapidFromEnv(env: Env): Vapid | undefined {
  const publicKey = vapidPublicKeyFromEnv(env)
  const privateKey = envSecret(env, 'VAPID_PRIVATE_KEY')
  if (publicKey === undefined && privateKey === undefined) return undefined
  if (publicKey === undefined || privateKey === undefined) throw new ChatError('config_invalid', 'VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY go together')
  const vapid = { subject: envText(env, 'VAPID_SUBJECT'), publicKey, privateKey }
  const problem = vapidProblem(vapid)
  if (problem !== undefined) throw new ChatError('config_invalid', `VAPID_SUBJECT, VAPID_PUBLIC_KEY, VAPID_PRIVATE_KEY: ${problem}`)
  return vapid
}
