// An application that uses litefs-js, asked once to write and once to read by a client with the cookie that is given; says what
// the client got.
import http from 'node:http'
import { getInstanceInfo } from 'litefs-js'
import { ensurePrimary, handleTransactionalConsistency, setTxCookie } from 'litefs-js/http'

const cookie = process.argv[2]
console.warn = console.error = () => {}

const server = http.createServer(async (req, res) => {
  if (await (req.method === 'POST' ? ensurePrimary(res) : handleTransactionalConsistency(req, res))) return
  if (req.method === 'POST') await setTxCookie(res)
  res.end('here')
})

const ask = method =>
  new Promise((resolve, reject) => {
    const { port } = server.address()
    const headers = cookie ? { cookie } : {}
    const request = http.request({ port, method, headers, host: '127.0.0.1' }, response => {
      response.resume().on('end', () => resolve(response))
    })
    request.on('error', reject).end()
  })

await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const { currentIsPrimary } = await getInstanceInfo()
const write = await ask('POST')
const read = await ask('GET')
const told = [
  currentIsPrimary ? 'primary' : 'replica',
  `write=${write.statusCode}`,
  `replay=${write.headers['fly-replay'] ?? 'none'}`,
]
if (currentIsPrimary) told.push(`cookie=${write.headers['set-cookie'][0].split(';')[0]}`)
else told.push(`read=${read.headers['fly-replay'] ?? 'here'}`)
console.log(told.join(' '))
server.close()
server.closeAllConnections()
