// Sends messages by Fluency until all are acknowledged, and prints how many are. The code of GUIDE.md takes the
// place of its mark. The argument is the number of messages.

import java.util.Map;
import org.komamitsu.fluency.Fluency;
import org.komamitsu.fluency.fluentd.FluencyBuilderForFluentd;

class Sender {
    static final int AT_ONCE = 1000;

    public static void main(String[] arguments) throws Exception {
        int count = Integer.parseInt(arguments[0]);
        // GUIDE.md
        for (int number = 0; number < count; number += 1) {
            fluency.emit("app", Map.of("message", "message " + number));
            if ((number + 1) % AT_ONCE == 0 || number + 1 == count) {
                fluency.flush();
                // It is done when the last messages are sent, but not acknowledged yet.
                fluency.waitUntilAllBufferFlushed(60);
            }
        }
        fluency.close();
        if (!fluency.waitUntilFlusherTerminated(60)) {
            System.exit(1);
        }
        System.out.println("acknowledged " + count);
    }
}
