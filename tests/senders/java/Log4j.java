// Logs messages of two lines by Log4j, whose configuration is in the file that the system property
// log4j.configurationFile names. The argument is the number of messages.

import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

class Log4j {
    public static void main(String[] arguments) {
        Logger log = LogManager.getLogger("app");
        int count = Integer.parseInt(arguments[0]);
        for (int number = 0; number < count; number += 1) {
            log.info("message " + number + "\nof two lines");
        }
        LogManager.shutdown();
    }
}
