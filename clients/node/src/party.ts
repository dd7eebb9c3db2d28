/** A connection to one party: mutual TLS 1.3, to exactly this party. */
import { statSync } from "node:fs";
import { checkServerIdentity, createSecureContext, type PeerCertificate } from "node:tls";
import { Metadata, credentials, type ChannelOptions, type ServiceError } from "@grpc/grpc-js";
import { identityIn, readCaller, readTrusted, type Caller } from "./certificates.js";
import type { ClientConfig, ServerRole } from "./config.js";
import { PrivedgeError } from "./errors.js";
import { PartyClient } from "./generated/party.js";
import { retried, type Patience } from "./retry.js";
import { fromStatus } from "./status.js";

const MAX_MESSAGE_BYTES = 4 * 2 ** 20;
const OPTIONS: ChannelOptions = {
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  // An unanswered ping closes the connection.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // Only code that knows that a call may be repeated repeats it.
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  // No connection uses a proxy, and none is shared with a client of another identity.
  "grpc.enable_http_proxy": 0,
  "grpc.use_local_subchannel_pool": 1,
};

/** A call with one request and one answer. */
type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: { deadline: Date },
  done: (error: ServiceError | null, response: Response) => void,
) => unknown;

export class Party {
  /** For messages: "party 0 (host:port)". */
  readonly name: string;
  readonly #dial: () => PartyClient;
  readonly #files: readonly string[];
  #client: PartyClient;
  #stamp: string;

  /** Throws CertificateError. It connects with the first call. */
  constructor(config: ClientConfig, role: ServerRole) {
    const { ca, certificate, key, pins } = config.tls;
    const trusted = pins?.[role] ?? ca;
    this.name = `party ${role.slice(-1)} (${config[role]})`;
    this.#files = [trusted, certificate, key];
    this.#dial = () => dialled(config[role], role, readTrusted(trusted), readCaller(config.tls));
    this.#stamp = stampOf(this.#files);
    this.#client = this.#dial();
  }

  /** The connection for the next call: a new one if a file has changed and all are sound. */
  get client(): PartyClient {
    const now = stampOf(this.#files);
    if (now !== this.#stamp) {
      this.#stamp = now;
      this.#renew();
    }
    return this.#client;
  }

  /** The answer to a call that may be repeated. */
  told<Request, Response>(
    method: Unary<Request, Response>,
    request: Request,
    patience: Patience,
  ): Promise<Response> {
    const once = (deadline: Date) =>
      new Promise<Response>((resolve, reject) => {
        method.call(this.client, request, new Metadata(), { deadline }, (error, response) =>
          error ? reject(fromStatus(error, this.name)) : resolve(response),
        );
      });
    return retried(once, patience);
  }

  close(): void {
    this.#client.close();
  }

  /** Calls that are running end on the old connection. */
  #renew(): void {
    try {
      const old = this.#client;
      this.#client = this.#dial();
      old.close();
    } catch (error) {
      // A file that is being replaced may not fit the others yet: the old ones still count.
      if (!(error instanceof PrivedgeError)) throw error;
    }
  }
}

function dialled(address: string, role: ServerRole, trusted: Buffer, caller: Caller): PartyClient {
  const context = createSecureContext({
    ca: trusted,
    cert: caller.certificate,
    key: caller.key,
    minVersion: "TLSv1.3",
    // A pin may be the party's own certificate. An older Node refuses it instead.
    ...{ allowPartialTrustChain: true },
  });
  const secure = credentials.createFromSecureContext(context, {
    checkServerIdentity: (_, certificate) => mistakenFor(role, certificate),
  });
  const name = { "grpc.ssl_target_name_override": `${role}.privedge` };
  return new PartyClient(address, secure, { ...OPTIONS, ...name });
}

/** What changes whenever one of the files does. */
function stampOf(files: readonly string[]): string {
  const found = files.map((file) => statSync(file, { throwIfNoEntry: false }));
  return found.map((stat) => `${stat?.mtimeMs} ${stat?.ino}`).join(", ");
}

/** An error unless the certificate is that of `role`, by DNS name and by URI. */
function mistakenFor(role: ServerRole, certificate: PeerCertificate): Error | undefined {
  const [found, name] = identityIn(certificate.subjectaltname) ?? [];
  const other = checkServerIdentity(`${role}.privedge`, certificate);
  if (other === undefined && found === role && name === role) return undefined;
  return new Error("is another server than the one asked for");
}
