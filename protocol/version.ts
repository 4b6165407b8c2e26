/** The protocol's version, agreed in hello and welcome. It changes with every change of frames.ts that is not optional. */

export const PROTOCOL_VERSION = 1

/** The WebSocket subprotocol and path that a client asks for. */
export const SUBPROTOCOL = 'litetopic.v1'
export const WEBSOCKET_PATH = '/v1/ws'

/** Where a broker listens and a client connects when nothing else is said. */
export const DEFAULT_PORT = 7171
export const DEFAULT_HOST = '127.0.0.1'
