import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { ChatError } from '#libs/domain/errors.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { PUSH_SUBSCRIPTIONS_MAX, subscriptionProblem } from '#libs/push/endpoints.ts'
import { identityOf, ownersOnly } from '../access.ts'
import type { PushConfig } from '../config.ts'
import { decodeCreatedCursor, encodePlace, pageOf } from '../core/cursor.ts'
import { PAGE } from '../core/message-page.ts'
import {
  notificationAnswer, notificationParams, notificationsPage, notificationsQuery, readAllAnswer, subscriptionAnswer, subscriptionBody, subscriptionEndAnswer, subscriptionEndBody, subscriptions,
} from '../inbox-schemas.ts'
import { errorResponses } from '../schemas.ts'
import {
  countUnreadNotifications, deleteSubscription, markAllNotificationsRead, markNotificationRead, selectNotifications, selectSubscriptions, upsertSubscription,
} from '../sql/notifications.ts'
import { bareBody } from '../write-schemas.ts'

export type NotificationDeps = { readonly db: Queryable; readonly push: PushConfig }

/** What one was told while one was away, and where. */
export const notificationRoutes: FastifyPluginCallbackTypebox<NotificationDeps> = (app, { db, push }, done) => {
  app.addHook('onRequest', ownersOnly)
  app.get(
    '/me/notifications',
    {
      schema: { tags: ['notifications'], summary: "One's notifications, read and unread", description: 'The newest first.', querystring: notificationsQuery, response: { 200: notificationsPage, ...errorResponses } },
    },
    async (request) => {
      const { unread, cursor, limit = PAGE.limitDefault } = request.query
      const { userId } = identityOf(request)
      const found = await selectNotifications(db, userId, { unread, cursor: cursor === undefined ? undefined : decodeCreatedCursor(cursor), limit })
      const { rows, nextCursor } = pageOf(found, limit, ({ createdAtUs, notificationId }) => encodePlace(createdAtUs, notificationId))
      return { notifications: rows, unread: await countUnreadNotifications(db, userId), nextCursor }
    },
  )
  app.get(
    '/me/push-subscriptions',
    { schema: { tags: ['notifications'], summary: "Browsers that one is told in by Web Push", response: { 200: subscriptions, ...errorResponses } } },
    async (request) => ({ subscriptions: [...(await selectSubscriptions(db, identityOf(request).userId))], applicationServerKey: push.vapidPublicKey ?? null }),
  )
  done()
}

export const notificationWriteRoutes: FastifyPluginCallbackTypebox<NotificationDeps> = (app, { db, push }, done) => {
  app.post(
    '/me/notifications/:notificationId/read',
    {
      schema: { tags: ['notifications'], summary: 'Marks a notification as read', description: 'Other devices clear it. What one has seen of the room stays: that is moved by its marks, which clear its notifications by themselves.', params: notificationParams, body: bareBody, response: { 200: notificationAnswer, ...errorResponses } },
    },
    async (request) => {
      const row = await markNotificationRead(db, identityOf(request).userId, request.params.notificationId)
      if (!row) throw new ChatError('not_found')
      return row
    },
  )
  app.post(
    '/me/notifications/read-all',
    { schema: { tags: ['notifications'], summary: 'Marks all notifications as read', body: bareBody, response: { 200: readAllAnswer, ...errorResponses } } },
    async (request) => ({ read: await markAllNotificationsRead(db, identityOf(request).userId) }),
  )
  app.put(
    '/me/push-subscriptions',
    {
      schema: {
        tags: ['notifications'],
        summary: 'Be told in this browser by Web Push',
        description: `The body is what \`PushSubscription.toJSON()\` gives. An endpoint is one user's at a time: of who gave it last. Above ${PUSH_SUBSCRIPTIONS_MAX} the one that was given longest ago goes.`,
        body: subscriptionBody,
        response: { 200: subscriptionAnswer, ...errorResponses },
      },
    },
    async (request) => {
      const { endpoint, keys } = request.body
      const given = { endpoint, ...keys }
      const problem = subscriptionProblem(given, push.hosts)
      if (problem !== undefined) throw new ChatError('invalid_request', problem)
      await upsertSubscription(db, identityOf(request).userId, given, PUSH_SUBSCRIPTIONS_MAX)
      return { endpoint }
    },
  )
  app.delete(
    '/me/push-subscriptions',
    { schema: { tags: ['notifications'], summary: 'Be told there no more', body: subscriptionEndBody, response: { 200: subscriptionEndAnswer, ...errorResponses } } },
    async (request) => {
      const { endpoint } = request.body
      return { endpoint, removed: await deleteSubscription(db, identityOf(request).userId, endpoint) }
    },
  )
  done()
}
