/** Which addresses a browser may name as its push endpoint: they come from outside, and we send requests to them. */

/** The push services of Chrome and Edge on Android and desktop, Firefox, Safari, and Edge on Windows. */
export const knownPushHosts: readonly string[] = ['fcm.googleapis.com', 'updates.push.services.mozilla.com', 'web.push.apple.com', '*.notify.windows.com']

/** A user's browsers; above, the one that was renewed longest ago goes. */
export const PUSH_SUBSCRIPTIONS_MAX = 20
export const ENDPOINT_CHARS_MAX = 2_048

export type PushSubscription = { readonly endpoint: string; readonly p256dh: string; readonly auth: string }

/**
 * The entry of the list that lets the endpoint in; undefined: none does. Entries are `host`, `host:port` or `*.domain`.
 * Always https, without a user name, and on its standard port where the entry names none.
 */
export function allowingHost(endpoint: string, hosts: readonly string[]): string | undefined {
  const url = endpoint.length <= ENDPOINT_CHARS_MAX ? URL.parse(endpoint) : null
  if (!url || url.protocol !== 'https:' || url.username !== '' || url.password !== '') return undefined
  return hosts.find((entry) => {
    const host = entry.toLowerCase()
    return host.startsWith('*.') ? url.host.endsWith(host.slice(1)) && url.host.length > host.length - 1 : url.host === host
  })
}

const bytesOf = (base64url: string): number => (/^[A-Za-z0-9_-]+={0,2}$/.test(base64url) ? Buffer.from(base64url, 'base64url').length : -1)

/** What is wrong with a subscription that a browser sends, in words; undefined: nothing. */
export function subscriptionProblem({ endpoint, p256dh, auth }: PushSubscription, hosts: readonly string[]): string | undefined {
  if (allowingHost(endpoint, hosts) === undefined) return 'endpoint is not one of a push service that is known here'
  // An uncompressed point of P-256, and the secret of RFC 8291.
  if (bytesOf(p256dh) !== 65) return 'keys.p256dh must be 65 bytes in base64url'
  if (bytesOf(auth) !== 16) return 'keys.auth must be 16 bytes in base64url'
  return undefined
}
