import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** Takes uploads on the JDK's own HTTP server, which says 100 by itself: java App.java PORT */
class App {
    public static void main(String[] arguments) throws Exception {
        var address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0]));
        var server = HttpServer.create(address, 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/upload", exchange -> {
            var size = 0L;
            try (var body = exchange.getRequestBody()) {
                var buffer = new byte[1 << 16];
                for (int count; (count = body.read(buffer)) >= 0; ) size += count;
            }
            sleep(exchange.getRequestURI().getQuery());
            var answer = Long.toString(size).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }

    private static void sleep(String query) {
        try {
            Thread.sleep((long) (1000 * Double.parseDouble(query.split("=")[1])));
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
