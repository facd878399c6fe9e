// uWebSockets.js alone: who opens a socket is subscribed to its room, and what he says is published there.
import uws from 'uWebSockets.js'

type Data = { readonly room: string }

const app = uws.App()
app.ws<Data>('/', {
  maxPayloadLength: 64 * 1024,
  idleTimeout: 60,
  sendPingsAutomatically: true,
  compression: uws.DISABLED,
  upgrade(res, req, context) {
    const room = req.getQuery('roomId') ?? ''
    const [key, protocol, extensions] = [req.getHeader('sec-websocket-key'), req.getHeader('sec-websocket-protocol'), req.getHeader('sec-websocket-extensions')]
    res.upgrade<Data>({ room }, key, protocol, extensions, context)
  },
  open(ws) {
    const { room } = ws.getUserData()
    if (room !== '') ws.subscribe(room)
    ws.send('ready')
  },
  message(ws, bytes) {
    // To everybody in the room but the sender.
    ws.publish(ws.getUserData().room, bytes, false)
  },
})
app.get('/ready', (res) => {
  res.end('ok')
})
app.listen('127.0.0.1', Number(process.env['PORT']), (socket) => {
  if (!socket) process.exit(1)
})
