// One address before several processes: each new connection goes to the next of them that takes
// it, and both ways end as their other side does.
import net from 'node:net';

export class Balancer {
  /** ports(): where the processes listen at the moment. */
  static async start(ports) {
    const balancer = new Balancer();
    balancer.ports = ports;
    balancer.turn = 0;
    balancer.sockets = new Set();
    const options = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true };
    balancer.server = net.createServer(options, (client) => balancer.#take(client));
    await new Promise((resolve, reject) => {
      balancer.server.once('error', reject);
      balancer.server.listen(0, '127.0.0.1', resolve);
    });
    balancer.port = balancer.server.address().port;
    return balancer;
  }

  #take(client) {
    const ports = this.ports();
    const first = this.turn++;
    this.#track(client);
    client.on('error', () => client.destroy());
    const next = (tries) => {
      if (tries === ports.length || client.destroyed) return client.destroy();
      const port = ports[(first + tries) % ports.length];
      const server = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
      const refused = () => next(tries + 1);
      this.#track(server);
      server.once('error', refused);
      server.once('connect', () => {
        server.off('error', refused);
        join(client, server);
      });
    };
    next(0);
  }

  #track(socket) {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
  }

  close() {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

// An end on one side goes on as an end to the other; all else that ends one ends both. (Not by
// resetAndDestroy: after an end() it leaks the socket, and Node 20 then never exits.)
function join(a, b) {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ]) {
    one.pipe(other);
    one.on('error', () => other.destroy());
    one.on('close', () => {
      if (!one.readableEnded) other.destroy();
    });
  }
  if (a.destroyed) b.destroy();
}
