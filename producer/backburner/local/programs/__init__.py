"""The programs that the stack is made of, each as a supervised child process."""
